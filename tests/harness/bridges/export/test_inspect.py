"""Inspect's logs, as far as they can be judged without Inspect (tests/plugins/trackers)."""

import json
from pathlib import Path

from encodeonce.harness.bridges.export.inspect import write
from encodeonce.harness.results.export import read_run
from tests.harness.bridges.export.runs import TEXTS, write_run


def test_a_log_has_a_sample_for_each_answer_and_error(tmp_path: Path) -> None:
    baseline, other = read_run(write_run(tmp_path))
    (path,) = write(baseline, tmp_path / "out")
    log = json.loads(path.read_text("utf-8"))
    assert {one["id"]: one["output"]["completion"] for one in log["samples"]} == TEXTS
    assert log["results"]["scores"][0]["metrics"]["mean"]["value"] == 0.75
    (path,) = write(other, tmp_path / "out")
    log = json.loads(path.read_text("utf-8"))
    (failed,) = [one for one in log["samples"] if "error" in one]
    assert failed["id"] == "b-1" and "torn" in failed["error"]["message"]
    assert "scores" not in failed and failed["output"]["choices"] == []
    assert log["results"]["completed_samples"] == 3


def test_answers_without_words_are_written(tmp_path: Path) -> None:
    (run, _) = read_run(write_run(tmp_path, scoring="nll"))
    (path,) = write(run, tmp_path / "out")
    samples = json.loads(path.read_bytes())["samples"]
    assert [one["output"]["choices"] for one in samples] == [[]] * 4
    assert all(one["metadata"]["log_probs"] for one in samples)
