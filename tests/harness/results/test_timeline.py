"""The hit rate over time, from journals."""

from datetime import datetime, timedelta

import pytest

from encodeonce.harness.results.timeline import NUM_PARTS, PAUSE_S, Step, hit_timeline, now
from encodeonce.harness.run.record import CacheUse

START = datetime.fromisoformat("2026-11-21T09:00:00.000+00:00")


def step(at_s: float | None, num_units: int = 8, num_hits: int = 0) -> Step:
    when = None if at_s is None else (START + timedelta(seconds=at_s)).isoformat()
    return Step(finished_at=when, cache=CacheUse(num_units=num_units, num_hits=num_hits))


def test_parts_hold_the_units_of_their_time() -> None:
    # 0, 10, 20, ... 240 s: parts of 10 s; the last line belongs to the last part.
    found = hit_timeline({"evaluate": [step(10.0 * n, 8, min(n, 8)) for n in range(25)]})
    assert found is not None
    stage = found["evaluate"]
    assert (stage["clock"], stage["num_pauses"], len(stage["parts"])) == ("seconds", 0, NUM_PARTS)
    assert stage["parts"][0] == {"until": 10.0, "num_units": 8, "num_hits": 0, "hit_rate": 0.0}
    assert stage["parts"][4]["hit_rate"] == pytest.approx(4 / 8)
    assert stage["parts"][-1]["num_units"] == 16
    assert sum(part["num_units"] for part in stage["parts"]) == 25 * 8


def test_an_interruption_takes_no_time() -> None:
    later = 100.0 + PAUSE_S + 1
    found = hit_timeline({"evaluate": [step(0.0), step(100.0), step(later), step(later + 140.0)]})
    assert found is not None
    assert found["evaluate"]["num_pauses"] == 1
    assert found["evaluate"]["parts"][-1]["until"] == pytest.approx(240.0)


def test_journals_without_times_are_shown_line_by_line() -> None:
    found = hit_timeline({"precompute": [step(0.0), step(None), step(5.0)]})
    assert found is not None
    assert found["precompute"]["clock"] == "lines"
    assert found["precompute"]["parts"][-1]["until"] == pytest.approx(2.0)


def test_what_asked_for_nothing_is_not_there() -> None:
    assert hit_timeline({"precompute": [], "evaluate": [step(0.0, 0)]}) is None
    found = hit_timeline({"precompute": [step(0.0)], "evaluate": [step(0.0, 0)]})
    assert found is not None and list(found) == ["precompute"]


def test_the_time_is_utc() -> None:
    assert datetime.fromisoformat(now()).utcoffset() == timedelta(0)
