"""Samples, scores, and the protocol every benchmark follows.

`tests/contracts/benchmark.py` is the suite that a benchmark inherits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from encodeonce.datasets.media.media import MediaRef


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
    references: tuple[str, ...] = ()
    """All accepted answers, where several people gave one; `target` is the most frequent."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """An answer that was scored, as a run's records keep it."""

    sample: str
    """`Sample.id`."""
    group: str
    tags: Mapping[str, str]
    question: str
    target: str
    text: str
    """What the model wrote."""
    value: float
    """`Score.value`."""


class BenchmarkError(ValueError):
    """A benchmark is unknown, or its options or files are wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """One row of the table that `encodeonce benchmarks` prints."""

    title: str
    """The benchmark's published name, and in a few words what it asks."""
    media: str
    """``"images"``, ``"videos"`` or ``"both"``."""
    source: str
    """Where it was published: a URL, or the paper."""
    download: str
    """What to download, under which licence, and where to put it."""
    also: tuple[str, ...] = ()
    """Its names in lmms-eval and VLMEvalKit, where they differ from ours by more than signs and
    capitals."""


class Benchmark(Protocol):
    """Questions, how they are asked, and how answers are scored. Knows no model.

    A class in `benchmarks/` also has ``about: ClassVar[About]``, for people who look for a
    benchmark (``encodeonce benchmarks``).
    """

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


@runtime_checkable
class Summarising(Benchmark, Protocol):
    """A benchmark that publishes other figures than the mean of its scores."""

    measure: ClassVar[str]
    """What a score's value is, e.g. ``"ROUGE-L"``; for other benchmarks it is the accuracy."""

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return the published figures by name; the one that people quote comes first.

        A name says what the figure is of or out of, e.g. ``"perception, of 2000"``. Answers that
        failed or could not be scored are missing from ``scored``, and so is what ``limit`` left
        out: a figure that needs them is omitted, or covers the rest and says so in its name.
        """
        ...


@runtime_checkable
class Gridded(Benchmark, Protocol):
    """A benchmark whose scores are read by two of its samples' tags at once, as a heat map."""

    grid: ClassVar[tuple[str, str]]
    """The tags of its rows and of its columns."""


@runtime_checkable
class Exporting(Benchmark, Protocol):
    """A benchmark whose official evaluator takes files of answers."""

    def official_files(self, scored: Sequence[Scored]) -> Mapping[str, str]:
        """Return the texts of these files by their names."""
        ...
