"""The progress that a user sees, from the first second of a command."""

import io
import json
from typing import Any

import pytest

from encodeonce.jobs.execution.display import (
    Bar,
    Display,
    JsonLines,
    Lines,
    Snapshot,
    clock,
    display_on,
    on_stderr,
)
from encodeonce.jobs.execution.progress import Progress, ProgressState, Tally
from encodeonce.jobs.execution.work import Outcome, Status, WorkItem


def outcome(name: str, status: Status = "ok") -> Outcome:
    return Outcome(item=name, status=status, attempts=1, seconds=1.0, worker="h:1")


def count(outcome: Outcome) -> Tally:
    """Three samples an item; an item that did not end ok is three errors."""
    return Tally(done=3, errors=0 if outcome.status == "ok" else 3, hits=3, misses=1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ITEMS = [WorkItem(id=name, payload=None, weight=1.0) for name in "abc"]


def show(display: Display) -> None:
    """Show a run: a phase, two workers that load, three outcomes."""
    display.phase("starting Ray")
    progress = Progress(ITEMS, count, title="evaluate", unit="samples", total=9, display=display)
    with progress:
        for ready in (0, 1, 2):
            progress.workers(ready, 2)
        progress.update(outcome("a"))
        progress.update(outcome("b", "failed"))
        progress.update(outcome("c", "quarantined"))


def state() -> ProgressState:
    return ProgressState(
        stage="evaluate", unit="samples", total=10, total_weight=8.0, start_s=100.0
    )


def test_the_sentence_names_hit_rate_errors_quarantined_rate_and_the_time_left() -> None:
    now = state()
    assert now.snapshot(100.0).words() == "0/10 samples, loading"
    now.workers(0, 2, 110.0)
    assert now.snapshot(110.0).words() == "0/10 samples, loading 0/2"
    now.workers(2, 2, 150.0)
    assert now.snapshot(150.0).words() == "0/10 samples, errors 0"
    now.add(Tally(done=4, errors=1, hits=3, misses=1), weight=6.0, quarantined=False)
    # The fifty seconds before are not held against the work.
    assert now.snapshot(450.0).words() == (
        "4/10 samples, hit rate 75.0 %, errors 1, 0.0133/s, 1:40 left"
    )
    now.add(Tally(done=1, errors=1), weight=0.0, quarantined=True)
    assert "errors 2, quarantined 1, " in now.snapshot(450.0).words()
    now.add(Tally(done=5), weight=2.0, quarantined=False)
    assert now.snapshot(550.0).words() == (
        "10/10 samples, hit rate 75.0 %, errors 2, quarantined 1, 0.025/s"
    )
    assert now.snapshot(550.0).seconds == 450.0


def test_fewer_workers_are_asked_for_towards_the_end() -> None:
    now = state()
    now.workers(2, 1, 150.0)
    assert (now.snapshot(150.0).ready, now.snapshot(150.0).wanted) == (2, 2)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0:00"), (59.6, "1:00"), (185, "3:05"), (3725, "1:02:05")]
)
def test_a_duration_reads_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_terminal_gets_a_phase_that_goes_and_a_bar_that_stays() -> None:
    stream = Terminal()
    with display_on(stream) as display:
        assert isinstance(display, Bar)
        show(display)
    text = stream.getvalue()
    assert "starting Ray" in text
    assert "\r" in text
    assert "9/9 samples, hit rate 75.0 %, errors 6, quarantined 3" in text


def test_elsewhere_there_is_a_line_for_each_beginning_and_end() -> None:
    stream = io.StringIO()
    with display_on(stream) as display:
        show(display)
    first, second, third = stream.getvalue().splitlines()
    assert first == "starting Ray"
    assert second == "evaluate: 0/9 samples, loading"
    assert third.startswith("evaluate: 9/9 samples, hit rate 75.0 %, errors 6, quarantined 3, ")


def test_elsewhere_a_long_run_writes_a_line_now_and_then() -> None:
    stream = io.StringIO()
    show(Lines(stream, every_s=0.0))
    assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == [
        "starting Ray",
        *["evaluate: 0/9 samples"] * 4,
        "evaluate: 3/9 samples",
        "evaluate: 6/9 samples",
        "evaluate: 9/9 samples",
        "evaluate: 9/9 samples",
    ]


def test_programs_get_an_object_a_line() -> None:
    stream = io.StringIO()
    show(JsonLines(stream))
    lines: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"event": "phase", "phase": "starting Ray"}
    stages = lines[1:]
    assert all(set(line) == {"event", "is_last", *Snapshot.__slots__} for line in stages)
    assert [(line["ready"], line["wanted"]) for line in stages[:3]] == [(0, 0), (1, 2), (2, 2)]
    last = stages[-1]
    assert last["is_last"]
    assert (last["done"], last["total"], last["unit"]) == (9, 9, "samples")
    assert (last["hit_rate"], last["errors"], last["quarantined"]) == (0.75, 6, 3)


def test_nothing_is_shown_where_that_is_asked_for_or_there_is_no_stream() -> None:
    stream = io.StringIO()
    with display_on(stream, "none") as display:
        show(display)
    assert not stream.getvalue()
    with display_on(None) as display:
        show(display)
    with pytest.raises(ValueError, match="progress is shown as auto, json or none; got 'loud'"):
        on_stderr("loud")


def test_a_log_file_on_a_full_disk_stops_no_work() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    show(Lines(Full(), every_s=0.0))
