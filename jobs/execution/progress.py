"""Shows a run's progress, from the outcomes that the driver receives."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from rich import progress as rich_progress
from rich.table import Column

from encodeonce.harness.report.plain_console import PlainConsole
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
    """Counts, and their wording. Reads no clock."""

    def __init__(self, *, total: int, total_weight: float, start_s: float) -> None:
        self.total = total
        self.done = self.errors = self.quarantined = self.hits = self.misses = 0
        self._total_weight = total_weight
        self._done_weight = 0.0
        self._start_s = start_s

    def add(self, tally: Tally, *, weight: float, quarantined: bool) -> None:
        """Count one outcome of an item of ``weight``."""
        self.done += tally.done
        self.errors += tally.errors
        self.hits += tally.hits
        self.misses += tally.misses
        self.quarantined += tally.done if quarantined else 0
        self._done_weight += weight

    def remaining_s(self, now_s: float) -> float | None:
        """Estimate from the weight done so far, as heavy items come first; None at the start."""
        if self._done_weight <= 0:
            return None
        left = max(0.0, self._total_weight - self._done_weight)
        return (now_s - self._start_s) / self._done_weight * left

    def details(self, now_s: float) -> str:
        """Return e.g. ``hit rate 75.0 %, errors 2, quarantined 1, 3:05 left``."""
        parts = []
        if asked := self.hits + self.misses:
            parts.append(f"hit rate {100 * self.hits / asked:.1f} %")
        parts.append(f"errors {self.errors}")
        if self.quarantined:
            parts.append(f"quarantined {self.quarantined}")
        if self.done < self.total and (remaining_s := self.remaining_s(now_s)) is not None:
            parts.append(f"{clock(remaining_s)} left")
        return ", ".join(parts)


def clock(seconds: float) -> str:
    """Return ``m:ss``, or ``h:mm:ss`` from an hour on.

    >>> clock(185), clock(3725)
    ('3:05', '1:02:05')
    """
    minutes, whole_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_s:02}" if hours else f"{minutes}:{whole_s:02}"


class Progress:
    """A bar on a terminal; elsewhere a line now and then, so that log files stay readable."""

    def __init__(
        self,
        items: Sequence[WorkItem],
        count: Callable[[Outcome], Tally],
        *,
        title: str,
        unit: str,
        total: int,
        stream: TextIO | None,
        line_every_s: float = 30.0,
    ) -> None:
        """Follow the run of ``items``.

        Args:
            items: The work to do now, without what an earlier process did.
            count: Returns what an outcome adds, e.g. the number of samples in its media group.
            title: First word, e.g. ``"evaluate"``.
            unit: What `Tally.done` counts, e.g. ``"samples"``.
            total: Sum of `Tally.done` over ``items``.
            stream: Where to show it, usually ``sys.stderr``; None, if that is closed, for nowhere.
            line_every_s: Shortest time between two lines where there is no terminal.
        """
        self._weights = {item.id: item.weight for item in items}
        self._count = count
        self._title, self._unit = title, unit
        self._stream = stream
        self._line_every_s = line_every_s
        self._line_s = time.monotonic()
        self.state = ProgressState(
            total=total, total_weight=sum(self._weights.values()), start_s=self._line_s
        )
        self._bar: rich_progress.Progress | None = None
        if stream is not None and stream.isatty():
            self._bar = _bar_on(stream)
            self._task = self._bar.add_task(title, total=total, counts=self._counts(self._line_s))
            self._bar.start()

    def update(self, outcome: Outcome) -> None:
        """Count ``outcome`` and show it."""
        tally = self._count(outcome)
        quarantined = outcome.status == "quarantined"
        self.state.add(tally, weight=self._weights[outcome.item], quarantined=quarantined)
        now_s = time.monotonic()
        if self._bar is not None:
            self._show(self._bar, now_s)
        elif now_s - self._line_s >= self._line_every_s:
            self._write_line(now_s)

    def close(self) -> None:
        """Show the last state."""
        now_s = time.monotonic()
        if self._bar is not None:
            self._show(self._bar, now_s)
            self._bar.stop()
        else:
            self._write_line(now_s)

    def __enter__(self) -> Self:
        """Return the progress."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _show(self, bar: rich_progress.Progress, now_s: float) -> None:
        bar.update(self._task, completed=self.state.done, counts=self._counts(now_s))

    def _write_line(self, now_s: float) -> None:
        self._line_s = now_s
        if self._stream is not None:
            try:
                self._stream.write(f"{self._title}: {self._counts(now_s)}\n")
                self._stream.flush()
            except OSError:  # a log file on a full disk; the work matters more
                self._stream = None

    def _counts(self, now_s: float) -> str:
        """Return e.g. ``3/9 samples, hit rate 75.0 %, errors 0, 3:05 left``."""
        state = self.state
        return f"{state.done}/{state.total} {self._unit}, {state.details(now_s)}"


def _bar_on(stream: TextIO) -> rich_progress.Progress:
    """Return a bar that takes the width the counts leave, all on one line."""
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description} {task.percentage:3.0f} %", markup=False),
        rich_progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        rich_progress.TextColumn("{task.fields[counts]}", markup=False),
        console=PlainConsole(file=stream),
        expand=True,
    )
