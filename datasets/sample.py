"""Samples, scores, and the protocol every benchmark follows.

`tests/contracts/benchmark.py` is the suite that a benchmark inherits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from encodeonce.datasets.media import MediaRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One question about some media."""

    id: str
    """Unique within the benchmark."""
    media: tuple[MediaRef, ...]
    question: str
    choices: tuple[str, ...] = ()
    """Texts of the options; empty for a free answer."""
    target: str
    """The right answer: the option's letter, or a text."""
    group: str
    """Samples of one group share their media; confidence intervals are clustered by it."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Facets to report by, e.g. ``{"kind": "order"}``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an answer is worth. `value` is None when it could not be scored, which is not 0."""

    value: float | None
    """In [0, 1]."""
    extracted: str | None = None
    """The answer read out of the text, None if there is none."""


class BenchmarkError(ValueError):
    """A benchmark is unknown, or its options or files are wrong."""


class Benchmark(Protocol):
    """Questions, how they are put, and how answers are scored. Knows no model."""

    @property
    def media_root(self) -> Path:
        """Folder that the samples' media paths are relative to and may not leave."""
        ...

    def samples(self) -> Iterator[Sample]:
        """Yield the samples, always in the same order."""
        ...

    def prompt(self, sample: Sample) -> str:
        """Return the text the model is asked, media excluded."""
        ...

    def score(self, sample: Sample, answer: str) -> Score:
        """Score the model's text."""
        ...
