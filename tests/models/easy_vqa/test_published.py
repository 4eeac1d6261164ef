"""The table of a run's accuracies beside the authors'."""

import json
from pathlib import Path

import pytest

from encodeonce.models.easy_vqa import published


def report(folder: Path, name: str, mean: float, num_scored: int) -> Path:
    """Write what the table reads of a run's report.json; return the run's folder."""
    accuracy = {"mean": mean, "low": mean - 0.02, "high": mean + 0.01}
    found = {"easy_vqa": {"accuracy": accuracy, "num_scored": num_scored}}
    folder.mkdir()
    summary = {"variants": {"variants": {name: {"benchmarks": found}}}}
    (folder / "report.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def test_runs_follow_the_authors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [
        report(tmp_path / "a", "none/full", 0.985, 9673),
        report(tmp_path / "b", "none/snapkv@0.2", 0.5, 2000),
    ]
    monkeypatch.setattr("sys.argv", ["published", *map(str, folders)])
    published.main()
    lines = capsys.readouterr().out.splitlines()
    assert "| 93.8 |" in lines[2]
    assert lines[-2:] == [
        "| none/full | 98.5 (96.5 to 99.5; 9673 of 9673 questions) |",
        "| none/snapkv@0.2 | 50.0 (48.0 to 51.0; 2000 of 9673 questions) |",
    ]


def test_a_folder_without_a_report_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["published", str(tmp_path)])
    with pytest.raises(SystemExit):
        published.main()
    assert "report.json is not there; type: encodeonce run" in capsys.readouterr().err
