"""Shows what a command does, from its first second: by a bar, lines for logs, or JSON."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TextIO

from rich import progress as rich_progress
from rich.table import Column

from encodeonce.harness.report.plain_console import PlainConsole

How = Literal["auto", "json", "none"]
"""``auto``: a bar on a terminal, lines elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A stage at a moment."""

    stage: str
    unit: str
    """What is counted, e.g. ``"answers"``."""
    done: int
    total: int
    ready: int
    """Workers that have loaded what they need."""
    wanted: int
    """Workers that are asked for; 0 until that is known."""
    hit_rate: float | None
    """Share of the units looked up that the store had."""
    errors: int
    quarantined: int
    per_s: float | None
    """Units a second since the workers are ready; None at first."""
    remaining_s: float | None
    seconds: float
    """Since the stage began."""

    @property
    def is_loading(self) -> bool:
        """Whether nothing is done yet because workers are still starting and loading."""
        return self.done == 0 and self.ready < max(1, self.wanted) and self.total > 0

    def words(self) -> str:
        """Return e.g. ``3/108 answers, hit rate 75.0 %, errors 0, 1.5/s, 3:05 left``."""
        parts = [f"{self.done}/{self.total} {self.unit}"]
        if self.is_loading:
            return f"{parts[0]}, loading" + (f" {self.ready}/{self.wanted}" if self.wanted else "")
        if self.hit_rate is not None:
            parts.append(f"hit rate {100 * self.hit_rate:.1f} %")
        parts.append(f"errors {self.errors}")
        if self.quarantined:
            parts.append(f"quarantined {self.quarantined}")
        if self.per_s is not None:
            parts.append(f"{self.per_s:.3g}/s")
        if self.remaining_s is not None:
            parts.append(f"{clock(self.remaining_s)} left")
        return ", ".join(parts)


def clock(seconds: float) -> str:
    """Return ``m:ss``, or ``h:mm:ss`` from an hour on.

    >>> clock(185), clock(3725)
    ('3:05', '1:02:05')
    """
    minutes, whole_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_s:02}" if hours else f"{minutes}:{whole_s:02}"


class Display(Protocol):
    """Shows phases before the work, and the stages of the work."""

    def phase(self, what: str) -> None:
        """Show that something begins that is no stage: ``"starting Ray"``. It ends the one before.

        An empty text ends it alone.
        """
        ...

    def show(self, now: Snapshot, *, is_last: bool = False) -> None:
        """Show a stage; ``is_last``: it ends here."""
        ...


class Nothing:
    """Shows nothing."""

    def phase(self, what: str) -> None:
        """Show nothing."""

    def show(self, now: Snapshot, *, is_last: bool = False) -> None:
        """Show nothing."""


class Bar:
    """A line on a terminal that changes: seconds of a phase, then a bar for each stage."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: rich_progress.Progress | None = None
        self._task: Any = None
        self._stage = ""

    def phase(self, what: str) -> None:
        """Count the seconds of a phase, on a line that disappears."""
        self._end()
        if what:
            self._begin(
                rich_progress.Progress(
                    rich_progress.SpinnerColumn(),
                    rich_progress.TextColumn("{task.description}", markup=False),
                    rich_progress.TimeElapsedColumn(),
                    console=PlainConsole(file=self._stream),
                    transient=True,
                ),
                what,
            )

    def show(self, now: Snapshot, *, is_last: bool = False) -> None:
        """Move the stage's bar."""
        if self._stage != now.stage:
            self._end()
            self._stage = now.stage
            self._begin(_bar_on(self._stream), now.stage, total=now.total, counts=now.words())
        assert self._bar is not None
        self._bar.update(self._task, completed=now.done, counts=now.words())
        if is_last:
            self._end()

    def _begin(self, bar: rich_progress.Progress, what: str, **fields: Any) -> None:
        self._bar, self._task = bar, bar.add_task(what, **fields)
        bar.start()

    def _end(self) -> None:
        self._stage = ""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Lines:
    """For pipes and log files: lines when a phase or stage begins, now and then, and at its end."""

    def __init__(self, stream: TextIO | None, every_s: float = 30.0) -> None:
        """Take the stream, and the shortest time between two lines of a stage."""
        self._stream, self._every_s = stream, every_s
        self._line_s = time.monotonic()
        self._stage = ""

    def phase(self, what: str) -> None:
        """Write what begins."""
        if what:
            self._write(what)

    def show(self, now: Snapshot, *, is_last: bool = False) -> None:
        """Write a line, if it is time."""
        if self._is_due(now) or is_last:
            self._write(f"{now.stage}: {now.words()}")
        self._stage = "" if is_last else now.stage

    def _is_due(self, now: Snapshot) -> bool:
        is_new = self._stage != now.stage
        return is_new or time.monotonic() - self._line_s >= self._every_s

    def _write(self, line: str) -> None:
        self._line_s = time.monotonic()
        if self._stream is not None:
            try:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except OSError:  # a log file on a full disk; the work matters more
                self._stream = None


class JsonLines(Lines):
    """The same as objects, one a line: ``{"event": "phase"|"stage", …}``."""

    def __init__(self, stream: TextIO | None, every_s: float = 1.0) -> None:
        """Take the stream, and the shortest time between two lines of a stage."""
        super().__init__(stream, every_s)
        self._ready = -1

    def phase(self, what: str) -> None:
        """Write what begins."""
        if what:
            self._write(json.dumps({"event": "phase", "phase": what}))

    def show(self, now: Snapshot, *, is_last: bool = False) -> None:
        """Write the stage, if it is time or a worker has become ready."""
        if self._is_due(now) or is_last or now.ready != self._ready:
            self._write(json.dumps({"event": "stage", **asdict(now), "is_last": is_last}))
        self._stage, self._ready = "" if is_last else now.stage, now.ready


@contextmanager
def display_on(stream: TextIO | None, how: How = "auto") -> Iterator[Display]:
    """Yield what shows a command's progress on a stream; whatever it shows ends with the block."""
    found: Display = Nothing()
    if how == "json":
        found = JsonLines(stream)
    elif how == "auto":
        found = Bar(stream) if stream is not None and stream.isatty() else Lines(stream)
    try:
        yield found
    finally:
        found.phase("")


def on_stderr(how: str = "auto") -> AbstractContextManager[Display]:
    """Return `display_on` of standard error.

    Raises:
        ValueError: there is no such way to show progress.
    """
    if how not in ("auto", "json", "none"):
        raise ValueError(f"progress is shown as auto, json or none; got {how!r}")
    return display_on(sys.stderr, how)  # type: ignore[arg-type]


def _bar_on(stream: TextIO) -> rich_progress.Progress:
    """Return a bar that takes the width the counts leave, all on one line."""
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description} {task.percentage:3.0f} %", markup=False),
        rich_progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("{task.fields[counts]}", markup=False),
        console=PlainConsole(file=stream),
        expand=True,
    )
