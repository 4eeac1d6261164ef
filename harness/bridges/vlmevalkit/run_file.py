"""The run file for VLMEvalKit: an ordinary run file with keys that only the kit needs."""

from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from encodeonce.datasets.options import LocalPath
from encodeonce.harness.results.export import file_names
from encodeonce.harness.run.config import BenchmarkSpec, RunConfig
from encodeonce.harness.run.variant import Variant
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import WeightsSpec

UNUSED = ("workers", "output", "limit", "check_uncached", "fidelity")
"""Keys of a run file for which VLMEvalKit has its own option, or no equivalent."""


class KitSpec(BaseModel):
    """How the model appears in VLMEvalKit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        default="encodeonce",
        pattern=r"^[\w.+-]+$",
        description="Its name for run.py's --model, also part of the result files' names. Several "
        "variants (weights, adapters, kv) append their own, e.g. encodeonce-none_full.",
    )
    videos: Literal["file", "frames"] = Field(
        default="file",
        description="'file': benchmarks hand over the video, whose stored features answer; "
        "'frames': they hand over pictures extracted from it, as for a model without video input.",
    )
    resident_prefixes: int = Field(
        default=1,
        ge=1,
        description="Number of prefixes (keys and values of some media) kept in memory.",
    )


class KitConfig(RunConfig):
    """A run whose questions VLMEvalKit asks.

    Every key of a run file is a key here too, including those added later.
    """

    benchmarks: tuple[BenchmarkSpec, ...] = Field(
        default=(), description="Benchmarks of encodeonce that run.py's --data may name."
    )
    output: LocalPath = Field(default=Path(), description="Not used; see run.py's --work-dir.")
    vlmevalkit: KitSpec = KitSpec()

    @model_validator(mode="before")
    @classmethod
    def _encode_what_is_missing(cls, content: Any) -> Any:
        """Make ``cache.on_miss: encode`` the default: no precompute runs before the questions."""
        cache = content.get("cache", {}) if isinstance(content, dict) else None
        if not isinstance(cache, dict):
            return content
        return {**content, "cache": {"on_miss": "encode", **cache}}

    @field_validator("benchmarks")
    @classmethod
    def _can_be_put(cls, benchmarks: tuple[BenchmarkSpec, ...]) -> tuple[BenchmarkSpec, ...]:
        titles = [spec.title for spec in benchmarks]
        for spec in benchmarks:
            if titles.count(spec.title) > 1:
                raise ValueError(f"two are named {spec.title!r}; give one of them a 'label'")
            if "/" in spec.title:
                raise ValueError(f"{spec.title!r} becomes a file name; choose another 'label'")
            if spec.scoring != "generate":
                raise ValueError(
                    f"{spec.title!r} has scoring {spec.scoring!r}; VLMEvalKit's models write "
                    "their answers, so only scoring: generate is possible"
                )
        return benchmarks

    @property
    def models(self) -> dict[str, tuple[WeightsSpec, KVSpec, AdapterSpec | None]]:
        """Variants by their names for run.py's --model."""
        variants = {
            Variant.of(weights, kv, adapter).name: (weights, kv, adapter)
            for weights, adapter, kv in product(self.weights, self.adapters, self.kv)
        }
        name, files = self.vlmevalkit.name, file_names(variants)
        alone = len(variants) == 1
        return {
            name if alone else f"{name}-{files[variant]}": parts
            for variant, parts in variants.items()
        }

    @property
    def unused(self) -> tuple[str, ...]:
        """Keys of `UNUSED` that the file contains nevertheless."""
        return tuple(name for name in UNUSED if name in self.model_fields_set)
