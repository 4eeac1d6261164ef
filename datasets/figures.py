"""Figures that a benchmark publishes besides the mean score, e.g. a mean over its tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A sample's score, and what it is grouped by."""

    sample: str
    """Its id."""
    tags: Mapping[str, str]
    value: float
    """In [0, 1]."""


@runtime_checkable
class HasFigures(Protocol):
    """What a benchmark offers beyond `Benchmark` if its paper reports more than a mean score."""

    def figures(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return figures by the name the paper gives them, 1.0 for 100 %.

        Samples that could not be scored are not among ``scored``. A figure that these samples do
        not give is left out.
        """
        ...


def mean(scored: Sequence[Scored]) -> float | None:
    """Return the mean score, None of nothing."""
    return sum(one.value for one in scored) / len(scored) if scored else None


def macro_mean(name: str, tag: str, scored: Sequence[Scored]) -> dict[str, float]:
    """Return the mean over a tag's values of their mean scores, however many samples each has.

    Values of which no sample was scored are left out, and the name says over how many it goes.
    """
    by_value: dict[str, list[float]] = {}
    for one in scored:
        by_value.setdefault(one.tags[tag], []).append(one.value)
    if not by_value:
        return {}
    means = [sum(values) / len(values) for values in by_value.values()]
    return {f"{name} (mean of {len(means)} {tag}s)": sum(means) / len(means)}
