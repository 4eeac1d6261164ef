"""The section ``adapters`` of a serving run file: which there are, and who asks under which."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from encodeonce.harness.run.strict import Strict
from encodeonce.models.adapters.spec import AdapterSpec


class HotSkew(Strict):
    """One adapter has a share of all requests, and an equal part of the rest, as the others."""

    kind: Literal["hot"]
    s: float = Field(ge=0, lt=1, description="Share of the first adapter, beyond its equal part.")
    clustered: bool = Field(
        default=False,
        description="Whether the share are the first requests in time, as VaLoRA's generator has "
        "it, rather than any.",
    )


class ZipfSkew(Strict):
    """Popularity falls as rank to the power of -a."""

    kind: Literal["zipf"]
    a: float = Field(gt=0, description="Exponent.")


class PowerSkew(Strict):
    """Of S-LoRA's generator: a request's adapter is the number x n, with x drawn by a x^(a-1)."""

    kind: Literal["power"]
    a: float = Field(gt=0, description="Exponent; 1 is even.")


class TraceColumn(Strict):
    """As was recorded, in the trace that says when requests arrive."""

    kind: Literal["trace_column"]
    column: str = Field(
        min_length=1,
        description="Column of the trace's file with a name in every line: the folders' own names, "
        "or others, which then stand for the adapters in the order in which they first come up.",
    )


Skew = Annotated[HotSkew | ZipfSkew | PowerSkew | TraceColumn, Field(discriminator="kind")]


class RandomAdapters(Strict):
    """Random ones, all different. Answers under them mean nothing, and are not scored."""

    rank: int = Field(ge=1, description="Rank of each.")


class AdaptersLoad(Strict):
    """LoRA adapters, one for each request."""

    number: int = Field(ge=1, description="How many there are.")
    folders: tuple[AdapterSpec, ...] = Field(
        default=(), description="As in a run file; exactly `number`. Answers are scored by adapter."
    )
    random: RandomAdapters | None = Field(default=None, description="Instead of folders.")
    skew: Skew = Field(
        default=HotSkew(kind="hot", s=0.0), description="How unevenly requests fall on adapters."
    )
    allow_mixed: bool = Field(
        default=False,
        description="Whether rows under others may be computed beside an adapter that is in the "
        "weights: its product is subtracted, which costs accuracy in low precision.",
    )

    @model_validator(mode="after")
    def _there_are_as_many(self) -> Self:
        if self.random is not None and self.folders:
            raise ValueError("adapters: give either folders or random, not both")
        if self.random is None and len(self.folders) != self.number:
            raise ValueError(
                f"adapters.number is {self.number}, and {len(self.folders)} folders are given; "
                "give as many, or random: {rank: 16}"
            )
        titles = [one.title for one in self.folders]
        if repeated := sorted({one for one in titles if titles.count(one) > 1}):
            raise ValueError(
                f"adapters.folders: two are called {repeated[0]!r}; give one of them a 'label'"
            )
        return self

    @property
    def column(self) -> str | None:
        """Of a trace, that says who asks under which."""
        return self.skew.column if isinstance(self.skew, TraceColumn) else None

    @property
    def titles(self) -> tuple[str, ...]:
        """What they are called, in order."""
        if self.folders:
            return tuple(one.title for one in self.folders)
        return tuple(f"random-{number}" for number in range(self.number))


def adapters_asked(
    load: AdaptersLoad, seed: int, count: int, recorded: Sequence[str] = ()
) -> list[int]:
    """Return the number of the adapter of each request, in order of arrival.

    Args:
        load: the section of the run file.
        seed: of the arrivals.
        count: of requests.
        recorded: what a trace's column says of each, where ``load.skew`` names one.

    Raises:
        ValueError: the column has other names than there are adapters.
    """
    draws = np.random.default_rng([seed, 2])
    skew, number = load.skew, load.number
    if isinstance(skew, TraceColumn):
        numbers = _numbered(load, skew, recorded)
        return [numbers[one] for one in recorded]
    if isinstance(skew, PowerSkew):
        return [int(one) for one in draws.power(skew.a, count) * number]
    if isinstance(skew, ZipfSkew):
        weights = np.arange(1, number + 1, dtype=float) ** -skew.a
        return [int(one) for one in draws.choice(number, count, p=weights / weights.sum())]
    if skew.clustered:
        num_hot = int(skew.s * count)
        return [0] * num_hot + [int(one) for one in draws.integers(number, size=count - num_hot)]
    is_hot = draws.random(count) < skew.s
    evenly = draws.integers(number, size=count)
    return [0 if hot else int(one) for hot, one in zip(is_hot, evenly, strict=True)]


def _numbered(load: AdaptersLoad, skew: TraceColumn, recorded: Sequence[str]) -> dict[str, int]:
    """Return the number of the adapter that each name in a trace's column stands for."""
    names, titles = list(dict.fromkeys(recorded)), load.titles
    known = [one for one in names if one in titles]
    where = f"adapters.skew.column {skew.column!r}"
    if known and len(known) < len(names):
        unknown = next(one for one in names if one not in titles)
        raise ValueError(
            f"{where}: {known[0]!r} is one of the adapters, and {unknown!r} is none; they are "
            f"{', '.join(titles)}. Name these alone, or none of them"
        )
    if len(names) > load.number:
        raise ValueError(
            f"{where} has {len(names)} names in the part of the trace that is asked for, and "
            f"adapters.number is {load.number}; give as many adapters, or fewer requests"
        )
    return {one: titles.index(one) if known else place for place, one in enumerate(names)}
