"""Counts the questions that VLMEvalKit asks in one command, over all models and benchmarks."""

from collections import Counter

from encodeonce.harness.bridges.resident import ResidentUse
from encodeonce.harness.report.numbers import human_count, human_seconds, percent
from encodeonce.harness.run.record import SampleError

SHOWN = 10
"""Number of different errors that are printed; the others are counted."""


class Tally:
    """Adds up."""

    def __init__(self) -> None:
        self.num_questions = 0
        self.failures: Counter[SampleError] = Counter()
        self.use = ResidentUse()
        """What answering took, over all questions."""

    def asked(self, use: ResidentUse) -> None:
        """Count a question and its cost."""
        self.num_questions += 1
        self.use += use

    def failed(self, error: Exception) -> None:
        """Count a question without an answer, in addition to `asked`."""
        self.failures[SampleError.of(error)] += 1

    def lines(self) -> list[str]:
        """Return a command's last lines; none if our models were asked no question."""
        if not self.num_questions:
            return []
        use = self.use
        num_failed = self.failures.total()
        seconds = ", ".join(f"{name} {human_seconds(s)}" for name, s in use.seconds.items())
        errors = [
            f"{count} not answered: {error.type}: {error.message}"
            for error, count in self.failures.most_common(SHOWN)
        ]
        if more := len(self.failures) - len(errors):
            errors.append(f"and {human_count(more, 'other error')}")
        return [
            f"{human_count(self.num_questions, 'question')}, "
            f"{self.num_questions - num_failed} answered, from "
            f"{human_count(use.num_prefills, 'prefill')} of media",
            f"features: hit rate {percent(self.hit_rate)}, {use.cache.num_hits} of "
            f"{human_count(use.cache.num_units, 'unit')} in the store, "
            f"{use.cache.num_encoded} encoded",
            f"seconds: {seconds}",
            *errors,
        ]

    @property
    def hit_rate(self) -> float | None:
        """Share of units that were in the store; None if none was looked up."""
        cache = self.use.cache
        return cache.num_hits / cache.num_units if cache.num_units else None
