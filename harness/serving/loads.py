"""The load in a run file: when requests arrive, and what may be in memory at most."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.refusal_words import got
from encodeonce.harness.run.sizes import parse_bytes
from encodeonce.harness.run.strict import Strict


def _one_or_more(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would take it for 1 or 0
        raise ValueError(f"must be a number{got(value)}")
    return value if isinstance(value, list | tuple) else [value]


def _sizes(value: Any) -> Any:
    return [_size(one) for one in _one_or_more(value)]


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str):
        raise ValueError(f"must be a number with a unit, e.g. 8MiB{got(value)}")
    return parse_bytes(value)


Positive = Annotated[float, Field(gt=0)]
Rates = Annotated[tuple[Positive, ...], BeforeValidator(_one_or_more), Field(min_length=1)]


class _Drawn(Strict):
    """Arrivals that are drawn."""

    requests: int = Field(default=300, ge=1, description="Requests in all, warm-up included.")
    warmup: int = Field(
        default=0,
        ge=0,
        description="First requests that are part of the load, but of no percentile.",
    )
    seed: int = Field(default=0, ge=0, description="Of arrivals and of the choice of samples.")

    @model_validator(mode="after")
    def _some_are_counted(self) -> Self:
        if self.warmup >= self.requests:
            raise ValueError(
                f"warmup: of {self.requests} requests, {self.warmup} at warm-up leave none to count"
            )
        return self


class ConstantArrivals(_Drawn):
    """One every 1 / rate seconds."""

    kind: Literal["constant"]
    rate: Rates = Field(description="Requests a second; each of a list makes a column of cells.")


class PoissonArrivals(_Drawn):
    """Independent of each other."""

    kind: Literal["poisson"]
    rate: Rates = Field(description="Requests a second; each of a list makes a column of cells.")


class GammaArrivals(_Drawn):
    """Gaps are Gamma-distributed: in bursts where cv is above 1; with cv 1, Poisson."""

    kind: Literal["gamma"]
    rate: Rates = Field(description="Requests a second; each of a list makes a column of cells.")
    cv: float = Field(gt=0, description="Coefficient of variation of the gaps.")


class ClosedArrivals(_Drawn):
    """Users who ask again once they are answered."""

    kind: Literal["closed"]
    concurrency: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_one_or_more), Field(min_length=1)
    ] = Field(description="Users; each of a list makes a column of cells.")
    think_s: float = Field(default=0.0, ge=0, description="Seconds from an answer to the next ask.")


class TraceArrivals(Strict):
    """As they were recorded."""

    kind: Literal["trace"]
    file: LocalPath = Field(
        description="CSV with the columns of Azure's LLM or LMM traces, or of BurstGPT."
    )
    start_s: float = Field(default=0.0, ge=0, description="Where to begin, seconds into the file.")
    duration_s: float | None = Field(default=None, gt=0, description="How much; null: all.")
    speed: Rates = Field(
        default=(1.0,), description="How much faster; each of a list makes a column of cells."
    )
    requests: int | None = Field(default=None, ge=1, description="At most; null: all.")
    warmup: int = Field(default=0, ge=0, description="As in the other kinds.")
    seed: int = Field(default=0, ge=0, description="Of the choice of samples.")


Arrivals = Annotated[
    ConstantArrivals | PoissonArrivals | GammaArrivals | ClosedArrivals | TraceArrivals,
    Field(discriminator="kind"),
]

_AXES: Mapping[str, str] = {"closed": "concurrency", "trace": "speed"}


def axis_of(arrivals: Arrivals) -> str:
    """Return the key whose values make the columns of a grid: ``rate`` in most kinds."""
    return _AXES.get(arrivals.kind, "rate")


def at_each(arrivals: Arrivals) -> tuple[Arrivals, ...]:
    """Return the arrivals of each column of a grid, from the lightest load to the heaviest."""
    key = axis_of(arrivals)
    values = sorted(set(getattr(arrivals, key)))
    return tuple(arrivals.model_copy(update={key: (value,)}) for value in values)


class Limits(Strict):
    """What may be in memory, and in one action, at most."""

    kv_bytes: Annotated[
        tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(_sizes), Field(min_length=1)
    ] = Field(
        description="Keys and values of all requests, e.g. 8MiB; each of a list makes a row of "
        "cells."
    )
    max_running: int = Field(
        default=64, ge=1, description="Requests between prefill and end, all decoded in one step."
    )
    encode_units: int = Field(
        default=64, ge=1, description="Frames or tiles that one action encodes; at least a request."
    )
    prefill_requests: int = Field(default=1, ge=1, description="Prompts in one action.")
    prefill_tokens: int = Field(
        default=4096,
        ge=1,
        description="Tokens of the prompts in one action. A prompt is not split, so none may be "
        "longer.",
    )
    compress_requests: int = Field(default=8, ge=1, description="Caches in one action.")

    def at_each(self) -> "tuple[Limits, ...]":
        """Return the limits of each row of a grid, from the tightest on."""
        sizes = sorted(set(self.kv_bytes))
        return tuple(self.model_copy(update={"kv_bytes": (size,)}) for size in sizes)
