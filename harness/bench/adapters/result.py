"""What is found when several adapters are measured beside other ways to the same answers."""

import statistics
from dataclasses import dataclass, field

from encodeonce.harness.bench.adapters.job import Taken
from encodeonce.harness.bench.cost_points import Clock


@dataclass(slots=True, kw_only=True)
class Measurement:
    """A way in a cell, over all rounds."""

    way: str
    rounds: list[Taken] = field(default_factory=list)
    rows: int = 0
    """Of the largest batch."""
    num_batches: int = 0
    operations: float = 0.0
    """Dispatched by a decode step for each adapted linear layer, the base's left out."""
    log_prob: float | None = None
    """Largest difference of a token's log-probability from `Cell.reference`."""
    flips: int | None = None
    """Tokens that `Cell.reference` would have chosen otherwise."""

    def step_s(self) -> list[float]:
        """Return the mean seconds of a decode step over all batches, by round."""
        return [sum(one.steps_s) / len(one.steps_s) for one in self.rounds]

    def prefill_s(self) -> list[float]:
        """Return the seconds of all prefills, by round."""
        return [one.prefill_s for one in self.rounds]

    def makespan_s(self, num_tokens: int) -> list[float]:
        """Return the seconds of the whole job, by round."""
        return [one.makespan_s(num_tokens) for one in self.rounds]

    def median_s(self, num_tokens: int) -> float:
        """Return the median seconds of the whole job."""
        return statistics.median(self.makespan_s(num_tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """So many samples under each of so many adapters."""

    num_adapters: int
    num_samples: int
    ways: dict[str, Measurement]
    """By name."""
    is_sequential: dict[str, bool]
    reference: str
    """The way whose answers the others' are compared with: one adapter at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptersResult:
    """All measurements."""

    cells: tuple[Cell, ...]
    num_prompt_tokens: int
    num_linears: int
    """That are adapted."""
    adapter_bytes: int
    """Of all adapters, as held for batches that mix them."""
    copy_bytes: int
    """Of the pristine weights that merging needs."""
    clock: Clock
    has_peft: bool
    table: str
    """What became of the dispatch table."""
