"""What a user writes of a weight variant, and whether a model can be loaded that way.

A variant changes the numbers inside the language model and nothing else: tower, projector and
``lm_head`` stay as they are, so all variants of a model read the same features from the store.
Weights are quantised first; adapters and KV methods come after, each under its own key.
"""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from encodeonce.models.checkpoint import local_checkpoint
from encodeonce.models.quantizer import Candidate, Quantizer, WeightsError
from encodeonce.models.spec import ModelSpec

UNCHANGED = "none"


class WeightsSpec(BaseModel):
    """A weight variant: how the language model's weights are held."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(
        default=UNCHANGED,
        description="File name in models/quantizers/, e.g. 'bnb-nf4'; 'none' leaves the model as "
        "it is.",
    )
    path: str | None = Field(
        default=None,
        description="Folder or hub id of a checkpoint that is quantised already; the language "
        "side is taken from it, everything else from model.path.",
    )
    label: str | None = Field(default=None, description="Name in records and reports.")
    options: dict[str, Any] = Field(default_factory=dict, description="The method's own options.")

    @model_validator(mode="before")
    @classmethod
    def _from_a_name(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "kv" in value:
            raise ValueError(
                "the KV cache is compressed after the weights are loaded, so 'kv' is a key of its "
                "own beside 'weights'; every variant meets every setting"
            )
        return {"method": value} if isinstance(value, str) else value

    @property
    def title(self) -> str:
        """Name by which records and reports call the variant."""
        if self.label:
            return self.label
        name = self.method
        if self.path is not None:
            name += f":{Path(self.path).name}"
        if self.options:
            options = (k if v is True else f"{k}={v}" for k, v in sorted(self.options.items()))
            name += f"({','.join(options)})"
        return name

    @property
    def is_none(self) -> bool:
        """Whether the model is loaded as it is."""
        return self.method == UNCHANGED


NONE = WeightsSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """What a decoder holds, and what loading it took."""

    bytes_by_part: Mapping[str, int]
    """Of parameters and buffers: ``layers`` (what is quantised), ``embeddings``, ``head``,
    ``projector``, ``other``. What is tied is counted once."""
    load_s: float
    peak_bytes: int | None
    """Most memory held while loading: allocated on the GPU, or resident; None where the system
    does not say."""

    @property
    def num_bytes(self) -> int:
        """All parts together."""
        return sum(self.bytes_by_part.values())


def quantizer_names() -> list[str]:
    """Return the names of all methods: the files in `quantizers/`, with dashes."""
    files = (Path(__file__).parent / "quantizers").glob("*.py")
    return sorted(path.stem.replace("_", "-") for path in files)


def load_quantizer(spec: WeightsSpec) -> Quantizer:
    """Make the quantizer that a user asked for.

    Raises:
        WeightsError: there is no such method, or it has no such options.
    """
    names = quantizer_names()
    if spec.method not in names:
        close = difflib.get_close_matches(spec.method, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise WeightsError(
            f"no weights method is called {spec.method!r}; known: {', '.join(names)}.{hint}"
        )
    module = f"encodeonce.models.quantizers.{spec.method.replace('-', '_')}"
    quantizer_class = importlib.import_module(module).QUANTIZER
    try:
        quantizer: Quantizer = quantizer_class.model_validate(spec.options)
    except ValidationError as error:
        allowed = ", ".join(quantizer_class.model_fields) or "none"
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise WeightsError(f"weights {spec.method!r}: {problems}. Options: {allowed}") from error
    return quantizer


def check_weights(spec: WeightsSpec, model: ModelSpec, folder: Path) -> None:
    """Refuse a variant that cannot be loaded, before anything is.

    Args:
        spec: the variant.
        model: the model it is a variant of.
        folder: the model's checkpoint.

    Raises:
        WeightsError: there is no such method or option, its library is not installed, this machine
            has no kernel for it, or the checkpoint does not fit.
    """
    load_quantizer(spec).check(candidate(spec, model, folder))


def candidate(spec: WeightsSpec, model: ModelSpec, folder: Path) -> Candidate:
    """Return a model and where the language side of a variant of it is read from.

    Raises:
        CheckpointError: ``spec.path`` names no checkpoint.
    """
    source = folder
    if spec.path is not None:
        source = local_checkpoint(ModelSpec(path=spec.path), key="weights path")
    return Candidate(model=model, folder=folder, source=source, path=spec.path)
