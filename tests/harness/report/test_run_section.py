"""The report's first section names what read the videos."""

from pathlib import Path
from typing import Any

from encodeonce.harness.report.run_section import run_section
from encodeonce.harness.results.run_summary import summarize_run
from tests.harness.runs import a_record, write_run


def outcome(item: str, **value: Any) -> dict[str, Any]:
    cache: dict[str, int] = {"num_units": 1}
    value = {"media": "0" * 64, "cache": cache, "seconds": {}, **value}
    return {"item": item, "status": "ok", "value": value, "error": None}


def test_videos_are_counted_by_what_read_them(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [a_record("a1")])
    assert "videos read by" not in dict(rows(folder))  # of an earlier version
    with folder.writer("precompute") as file:
        for name in ("a.mp4", "b.mp4", "b.mp4"):  # the last one twice
            file.write(outcome(name, decoder="pyav 18, FFmpeg 8"))
        file.write(outcome("c.mp4", decoder="decord 0.6, FFmpeg 4"))
        file.write(outcome("d.png", decoder=None))
        file.write(outcome("old.mp4"))
    found = dict(rows(folder))["videos read by"]
    assert found == "decord 0.6, FFmpeg 4 (1 video); pyav 18, FFmpeg 8 (2 videos)"


def rows(folder: Any) -> Any:
    table = run_section(summarize_run(folder)).table
    assert table is not None
    return table.rows
