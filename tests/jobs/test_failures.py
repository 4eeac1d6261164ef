"""Failures of a whole run: too many of them, and such as pass."""

import errno
from pathlib import Path
from typing import Any

import pytest

from encodeonce.harness.run.jsonl import read_json_lines
from encodeonce.harness.workers.features import FeatureSource
from tests.jobs.scene import Scene, make_scene

LOCAL = {"executor": "local", "groups_at_once": 1, "retry_after_s": 0.01}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


def break_clips(scene: Scene, *names: str) -> None:
    for name in names:
        (scene.media_root / name).write_bytes(b"not a video")


@pytest.mark.parametrize("allowed", [0, "50 %"])
def test_a_stage_stops_once_more_has_failed_than_is_allowed(scene: Scene, allowed: object) -> None:
    break_clips(scene, *(path.name for path in scene.media_root.iterdir()))
    done = scene.execute("run", workers={**LOCAL, "max_failed": allowed})
    most = 0 if allowed == 0 else 1
    assert done.exit_code == 1
    assert f"{most + 1} of 3 media failed, and workers.max_failed allows {most}" in done.stderr
    assert "UndecodableMedia" in done.stderr
    assert len(list(read_json_lines(scene.output / "precompute.jsonl"))) == most + 1
    assert not (scene.output / "records.jsonl").exists()


def test_failures_up_to_the_limit_stop_nothing(scene: Scene) -> None:
    break_clips(scene, sorted(path.name for path in scene.media_root.iterdir())[0])
    done = scene.execute("run", workers={**LOCAL, "max_failed": "34 %"})
    assert done.exit_code == 1
    assert "max_failed" not in done.stderr
    assert len(list(read_json_lines(scene.output / "records.jsonl"))) == 6


def test_answers_that_fail_stop_evaluation_too(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scene.execute("precompute").exit_code == 0

    def fails(self: object, request: object) -> None:
        raise LookupError("no such features")

    monkeypatch.setattr(FeatureSource, "fetch", fails)
    done = scene.execute("eval", workers={**LOCAL, "max_failed": 1})
    assert "of 6 answers failed, and workers.max_failed allows 1; the last one: " in done.stderr
    assert "LookupError: no such features" in done.stderr
    assert len(list(read_json_lines(scene.output / "records.jsonl"))) == 4, "the first block"


@pytest.mark.parametrize(("times", "num_failed"), [(2, 0), (10**6, 6)])
def test_a_file_server_that_comes_back_costs_no_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, times: int, num_failed: int
) -> None:
    assert scene.execute("precompute").exit_code == 0
    plain, calls = FeatureSource.fetch, []

    def stumbles(self: FeatureSource, request: Any) -> Any:
        calls.append(request)
        if len(calls) <= times:
            raise OSError(errno.ESTALE, "Stale file handle")
        return plain(self, request)

    monkeypatch.setattr(FeatureSource, "fetch", stumbles)
    done = scene.execute("eval", workers=LOCAL)
    records = list(read_json_lines(scene.output / "records.jsonl"))
    assert len(records) == 6
    failed = [record for record in records if record["error"] is not None]
    assert len(failed) == num_failed, done.stderr
    assert all("Stale file handle" in record["error"]["message"] for record in failed)


def test_records_say_who_answered_and_the_logs_why_not(scene: Scene) -> None:
    break_clips(scene, "1.mp4")
    scene.execute("run", workers=LOCAL)
    (worker,) = {record["worker"] for record in scene.lines("records")}
    logs = scene.output / "logs"
    listed = scene.lines_of(logs, "workers")
    assert {one["worker"] for one in listed} == {worker}
    text = (logs / listed[0]["log"]).read_text()
    assert "1.mp4" in text
    assert "Traceback" in text
