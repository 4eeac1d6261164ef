"""Follows a stage's progress, from the outcomes that the driver receives."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from encodeonce.jobs.execution.display import Display, Snapshot
from encodeonce.jobs.execution.work import Outcome, WorkItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one outcome adds to the counts. The caller gives its values a meaning."""

    done: int
    """Answers (or media items) accounted for, whatever their outcome."""
    errors: int = 0
    """How many of these have a typed error."""
    hits: int = 0
    """Units found in the store."""
    misses: int = 0


class ProgressState:
    """Counts. Reads no clock."""

    def __init__(
        self, *, stage: str, unit: str, total: int, total_weight: float, start_s: float
    ) -> None:
        self.done = self.errors = self.quarantined = self.hits = self.misses = 0
        self.ready = self.wanted = 0
        self._stage, self._unit, self._total = stage, unit, total
        self._total_weight = total_weight
        self._done_weight = 0.0
        self._start_s = start_s
        self._ready_s: float | None = None
        """When the first worker had loaded: before, nothing says how fast the work goes."""

    def workers(self, ready: int, wanted: int, now_s: float) -> None:
        """Note how many workers are ready, of those that are asked for."""
        self.ready, self.wanted = ready, max(ready, wanted)
        if ready and self._ready_s is None:
            self._ready_s = now_s

    def add(self, tally: Tally, *, weight: float, quarantined: bool) -> None:
        """Count one outcome of an item of ``weight``."""
        self.done += tally.done
        self.errors += tally.errors
        self.hits += tally.hits
        self.misses += tally.misses
        self.quarantined += tally.done if quarantined else 0
        self._done_weight += weight

    def snapshot(self, now_s: float) -> Snapshot:
        """Return the counts, and what follows from them.

        The time that remains is estimated from the weight done so far, as heavy items come first.
        """
        asked = self.hits + self.misses
        spent_s = now_s - (self._start_s if self._ready_s is None else self._ready_s)
        left = max(0.0, self._total_weight - self._done_weight)
        is_going = self._done_weight > 0 and self.done < self._total
        return Snapshot(
            stage=self._stage,
            unit=self._unit,
            done=self.done,
            total=self._total,
            ready=self.ready,
            wanted=self.wanted,
            hit_rate=self.hits / asked if asked else None,
            errors=self.errors,
            quarantined=self.quarantined,
            per_s=self.done / spent_s if self.done and spent_s > 0 else None,
            remaining_s=spent_s / self._done_weight * left if is_going else None,
            seconds=now_s - self._start_s,
        )


class Progress:
    """Follows the run of some items, and shows it."""

    def __init__(
        self,
        items: Sequence[WorkItem],
        count: Callable[[Outcome], Tally],
        *,
        title: str,
        unit: str,
        total: int,
        display: Display,
    ) -> None:
        """Follow the run of ``items``.

        Args:
            items: The work to do now, without what an earlier process did.
            count: Returns what an outcome adds, e.g. the number of samples in its media group.
            title: First word, e.g. ``"evaluate"``.
            unit: What `Tally.done` counts, e.g. ``"samples"``.
            total: Sum of `Tally.done` over ``items``.
            display: Where it is shown.
        """
        self._weights = {item.id: item.weight for item in items}
        self._count = count
        self._display = display
        self.state = ProgressState(
            stage=title,
            unit=unit,
            total=total,
            total_weight=sum(self._weights.values()),
            start_s=time.monotonic(),
        )
        display.show(self.state.snapshot(time.monotonic()))

    def workers(self, ready: int, wanted: int) -> None:
        """Show how many workers are ready."""
        now_s = time.monotonic()
        self.state.workers(ready, wanted, now_s)
        self._display.show(self.state.snapshot(now_s))

    def update(self, outcome: Outcome) -> None:
        """Count ``outcome`` and show it."""
        tally = self._count(outcome)
        quarantined = outcome.status == "quarantined"
        self.state.add(tally, weight=self._weights[outcome.item], quarantined=quarantined)
        self._display.show(self.state.snapshot(time.monotonic()))

    def __enter__(self) -> Self:
        """Return the progress."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the last state."""
        self._display.show(self.state.snapshot(time.monotonic()), is_last=True)
