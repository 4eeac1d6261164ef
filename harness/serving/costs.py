"""What each stage costs on one machine, as a few coefficients; the file that holds them.

`encodeonce bench costs` measures them (`harness/bench/costs.py`). Seconds, with u units, n new
tokens behind m cached ones, r rows at p places, and b bytes of keys and values read::

    fetch, encode   a + b u
    prefill, read   a + b n + c n (m + n / 2)
    compress        a + b n
    decode          a + b r + c b + d p
    swap            a + b b
"""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from encodeonce.cache_store.signature import canonical_json
from encodeonce.datasets.demo import questions
from encodeonce.datasets.local_path import local_path
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.datasets.strict_json import parse_json
from encodeonce.harness.run.strict import Strict
from encodeonce.harness.serving.adapters.costs import AdapterCosts
from encodeonce.harness.serving.specs import BUILT_IN
from encodeonce.models.checkpoint.files import read_config
from encodeonce.models.family import find_family
from encodeonce.models.spec import ModelSpec

FORMAT = "encodeonce costs 1"
WIDE_RESIDUAL = 0.25
"""Largest relative residual above which every report that uses the costs says so."""

_PROVENANCE = ("_name_or_path", "transformers_version")
DEMO_COSTS = Path(questions.__file__).parent / "costs.json"

Two = tuple[float, float]
Three = tuple[float, float, float]
Four = tuple[float, float, float, float]


class CostsError(ValueError):
    """A costs file cannot be used."""


class VariantCosts(Strict):
    """The stages that depend on weights and cache."""

    prefill: Three
    """Of a prefix, with what the setting needs to be observed."""
    read: Three
    """Of a question behind it."""
    compress: Two
    decode: Four

    def prefill_s(self, num_new: int) -> float:
        """Return the seconds of a prefix."""
        return _attending(self.prefill, num_new, 0)

    def read_s(self, num_new: int, num_cached: int) -> float:
        """Return the seconds of some tokens behind others."""
        return _attending(self.read, num_new, num_cached)

    def compress_s(self, num_tokens: int) -> float:
        """Return the seconds of compressing a prompt."""
        a, b = self.compress
        return a + b * num_tokens

    def decode_s(self, num_rows: int, num_bytes: int) -> float:
        """Return the seconds of a step over rows whose caches have so many bytes together."""
        a, b, c, d = self.decode
        return a + b * num_rows + c * num_bytes + d * num_places(num_rows)


class Costs(Strict):
    """A costs file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["encodeonce costs 1"]
    date: str
    command: str
    hardware: dict[str, Any]
    versions: dict[str, str]
    model: str
    """Its name."""
    architecture_sha256: str
    """See `architecture_sha256`: what a stage costs does not depend on what the weights have
    learned."""
    dtype: str
    clock: Literal["wall", "processor"]
    """What told the seconds; of a single thread, the processor's own."""
    token_bytes: int = Field(gt=0)
    """Keys and values of one token, uncompressed."""
    fetch: Two
    """Reading features from the store."""
    encode: Two
    """Decoding, preprocessing and the tower."""
    swap: Two
    variants: dict[str, VariantCosts]
    """By `Variant.name`."""
    adapters: AdapterCosts | None = None
    """Where they were measured."""
    residuals: dict[str, float]
    """The largest relative residual on points that were left out of the fit, by stage."""
    points: dict[str, list[list[float]]]
    """What was measured, by stage: its arguments, and the median of seconds."""

    def of(self, variant: str) -> VariantCosts:
        """Return the costs of a variant.

        Raises:
            CostsError: it was not measured.
        """
        if variant not in self.variants:
            raise CostsError(
                f"time.costs: holds no costs of {variant!r}, only of {', '.join(self.variants)}; "
                "measure them with `encodeonce bench costs`"
            )
        return self.variants[variant]

    def warnings(self, unused: Collection[str] = ()) -> list[str]:
        """Return a sentence for each stage that the coefficients do not describe well.

        Args:
            unused: stages that nobody goes through.
        """
        return [
            f"The costs of {stage} are off by up to {residual:.0%} on points left out of the fit."
            for stage, residual in self.residuals.items()
            if residual > WIDE_RESIDUAL and stage not in unused
        ]


def num_places(num_rows: int) -> int:
    """Return the places of a running batch: the next power of two (`models/serving/pool.py`)."""
    return 1 << max(0, num_rows - 1).bit_length()


def costs_named(name: str) -> Costs:
    """Return the costs that a run file names.

    Raises:
        CostsError: there is no such file, or it is no costs file.
    """
    if name == BUILT_IN:
        return costs_of(parse_json(DEMO_COSTS.read_bytes()), BUILT_IN)
    path = local_path(name)
    try:
        return costs_of(parse_json(path.read_bytes()), name)
    except OSError as error:
        raise CostsError(
            f"time.costs: {name}: {error.strerror or error}; make it with `encodeonce bench costs "
            "RUN.yaml --output FILE`, or use 'built-in' for the demo"
        ) from error
    except CostsError:
        raise
    except ValueError as error:
        raise CostsError(f"time.costs: {name} is no costs file: {error}") from error


def costs_of(content: Any, name: str) -> Costs:
    """Return the costs that a file holds.

    Raises:
        CostsError: it holds something else.
    """
    try:
        return checked(Costs, content)
    except Refused as error:
        raise CostsError(f"time.costs: {name} is no costs file: {error}") from error


def architecture_sha256(model: ModelSpec) -> str:
    """Return the digest of a model's shapes: its config.json, but for who wrote it.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    _, checkpoint = find_family(model)
    config = read_config(checkpoint)
    kept = {name: value for name, value in config.items() if name not in _PROVENANCE}
    return hashlib.sha256(canonical_json(kept).encode()).hexdigest()


def check_model(costs: Costs, name: str, model: ModelSpec) -> None:
    """Refuse costs of a model of another shape, or in another precision.

    Raises:
        CostsError: they are.
    """
    if costs.architecture_sha256 != architecture_sha256(model):
        raise CostsError(
            f"time.costs: {name} was measured with {costs.model}, whose shapes are not those of "
            f"{model.path}; measure its costs with `encodeonce bench costs`"
        )
    if costs.dtype != model.dtype:
        raise CostsError(
            f"time.costs: {name} was measured in {costs.dtype}; this run computes in {model.dtype}"
        )


def write_costs(path: Path, costs: Costs) -> None:
    """Write a costs file, a line for each stage: hundreds of numbers, each on its own, say less."""
    lines = []
    for name, value in costs.model_dump(mode="json").items():
        text = json.dumps(value)
        if isinstance(value, dict) and name in ("variants", "points"):
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            text = f"{{\n{inner}\n }}"
        lines.append(f" {json.dumps(name)}: {text}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _attending(coefficients: Three, num_new: int, num_cached: int) -> float:
    a, b, c = coefficients
    return a + b * num_new + c * num_new * (num_cached + num_new / 2)


def linear_s(coefficients: Two, amount: float) -> float:
    """Return a + b x."""
    a, b = coefficients
    return a + b * amount
