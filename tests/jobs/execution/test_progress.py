"""The progress that a user sees during a run."""

import io

import pytest

from encodeonce.jobs.execution.progress import Progress, ProgressState, Tally, clock
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


def shown(stream: io.StringIO, line_every_s: float = 30.0) -> str:
    progress = Progress(
        ITEMS,
        count,
        title="evaluate",
        unit="samples",
        total=9,
        stream=stream,
        line_every_s=line_every_s,
    )
    with progress:
        progress.update(outcome("a"))
        progress.update(outcome("b", "failed"))
        progress.update(outcome("c", "quarantined"))
    return stream.getvalue()


def test_the_sentence_names_hit_rate_errors_quarantined_and_the_time_left() -> None:
    state = ProgressState(total=10, total_weight=8.0, start_s=100.0)
    assert state.details(100.0) == "errors 0"
    state.add(Tally(done=4, errors=1, hits=3, misses=1), weight=6.0, quarantined=False)
    assert state.details(400.0) == "hit rate 75.0 %, errors 1, 1:40 left"
    state.add(Tally(done=1, errors=1), weight=0.0, quarantined=True)
    assert state.details(400.0) == "hit rate 75.0 %, errors 2, quarantined 1, 1:40 left"
    state.add(Tally(done=5), weight=2.0, quarantined=False)
    assert state.details(500.0) == "hit rate 75.0 %, errors 2, quarantined 1"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0:00"), (59.6, "1:00"), (185, "3:05"), (3725, "1:02:05")]
)
def test_a_duration_reads_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_terminal_gets_a_bar() -> None:
    text = shown(Terminal())
    assert "\r" in text
    assert "9/9 samples, hit rate 75.0 %, errors 6, quarantined 3" in text


def test_elsewhere_there_is_one_line_at_the_end_of_a_short_run() -> None:
    text = shown(io.StringIO())
    assert text == "evaluate: 9/9 samples, hit rate 75.0 %, errors 6, quarantined 3\n"


def test_elsewhere_a_long_run_writes_a_line_now_and_then() -> None:
    lines = shown(io.StringIO(), line_every_s=0.0).splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "evaluate: 3/9 samples",
        "evaluate: 6/9 samples",
        "evaluate: 9/9 samples",
        "evaluate: 9/9 samples",
    ]
