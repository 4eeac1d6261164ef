"""What a benchmark gives a judge: a language model that says how good an answer is.

`encodeonce.harness.judging` asks the judge and keeps its verdicts. Nothing here reaches a network.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from encodeonce.datasets.sample import Benchmark, Sample


class VerdictError(ValueError):
    """A judge's reply holds no verdict of the form that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a judge says of one answer."""

    value: float
    """In [0, 1]."""
    reference: float | None = None
    """In [0, 1]: what the same reply gives the reference, where both are judged side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An answer with its verdict, as a run's folder keeps them."""

    sample: str
    """`Sample.id`."""
    group: str
    tags: Mapping[str, str]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """How a judge is asked, and how its reply is read."""

    system: str
    """Who it is, and by what it judges: the system message."""
    template: str
    """The user's message, with the names of texts in braces."""
    read: Callable[[str], Verdict]
    """Raises `VerdictError`."""

    @property
    def sha256(self) -> str:
        """Digest of the words, by which judgements of different prompts are told apart."""
        words = f"{len(self.system)}\n{self.system}{self.template}"
        return hashlib.sha256(words.encode()).hexdigest()

    def ask(self, texts: Mapping[str, str]) -> str:
        """Return the user's message about these texts; braces in them stay as they are."""
        return self.template.format(**texts)


@runtime_checkable
class Judgeable(Benchmark, Protocol):
    """A benchmark whose published score is a judge's."""

    rubric: ClassVar[Rubric]
    judged_measure: ClassVar[str]
    """What `Verdict.value` is, for tables: ``"judged correctness"``."""

    def judged_texts(self, sample: Sample, answer: str) -> Mapping[str, str]:
        """Return the texts of `Rubric.template` by their names.

        Raises:
            BenchmarkError: data that only the judge needs are missing or not as published.
        """
        ...

    def summarise_verdicts(self, judged: Sequence[Judged]) -> Mapping[str, float]:
        """Return the published figures, of these answers, by name; the one quoted comes first."""
        ...
