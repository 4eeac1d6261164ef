"""``bench video``: numbers on frames are read, wrong frames are counted, odd options refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from encodeonce.datasets.media.backends import torchcodec
from encodeonce.harness.bench.video.clips import KINDS, code, number_on
from encodeonce.harness.bench.video.measure import VideoBench, run_video_bench
from encodeonce.harness.bench.video.report import sections, to_json
from encodeonce.jobs.cli.app import app
from tests.fixtures.media_files import write_video


@pytest.mark.parametrize("width", [64, 640, 1000])
def test_numbers_come_back_from_frames(width: int) -> None:
    for number in (0, 1, 599, 43_690, 65_535):
        frame = np.full((64, width, 3), 100, np.uint8)
        frame[:8] = code(number, width)[None, :, None]
        assert number_on(frame) == number


def test_pyav_is_exact_everywhere_and_decord_where_it_is_not_refused(tmp_path: Path) -> None:
    bench = VideoBench(width=128, height=64, num_frames=200, num_runs=1, folder=tmp_path)
    result = run_video_bench(bench, lambda step: None)
    by_place = {(cell.video, cell.reader, cell.pattern): cell for cell in result.cells}
    patterns = {cell.pattern for cell in result.cells}
    assert patterns == {"16 spread", "100 in a row"}
    readers = {"pyav", "decord"} | ({"torchcodec"} if torchcodec.identity() else set())
    assert {cell.reader for cell in result.cells} == readers
    for cell in result.cells:
        if cell.reader == "pyav":
            assert cell.num_wrong == 0 and cell.refusal is None, cell
        if cell.reader == "torchcodec":  # it may refuse, but no frame is wrong
            assert cell.num_wrong == 0 or cell.error, cell
        if cell.refusal is None:
            assert cell.num_wrong == 0 and cell.frames_per_s and len(cell.seconds) == 1
    # What the check is for: decord reads on, and is wrong.
    for kind in ("open GOP, mp4", "MPEG-TS"):
        assert all(by_place[kind, "decord", pattern].refusal for pattern in patterns)
    transport = [by_place["MPEG-TS", "decord", pattern] for pattern in patterns]
    assert any(cell.error or cell.num_wrong for cell in transport), transport
    assert by_place["closed GOP, mp4", "decord", "16 spread"].refusal is None
    (section,) = sections(result)
    assert section.table is not None and len(section.table.rows) == len(KINDS) * len(readers) * 2
    assert any("open GOP" in bullet for bullet in section.bullets)
    assert json.loads(json.dumps(to_json(result)))["cells"][0]["frames_per_s"] > 0


def test_videos_of_ones_own_are_compared_with_pyavs_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "mine.mp4")
    words = ["bench", "video", "--media", str(path), "--runs", "1", "--output", str(tmp_path)]
    done = CliRunner(env={"COLUMNS": "160"}).invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "mine.mp4" in done.output and "is not PyAV's" in done.output
    (file,) = tmp_path.glob("*video*.json")
    cells = json.loads(file.read_text())["cells"]
    assert {cell["num_wrong"] for cell in cells} == {0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "large"], "must be WIDTHxHEIGHT"),
        (["--size", "641x360"], "both must be even"),
        (["--size", "10x10"], "from 64 to 8192"),
        (["--frames", "1"], "--frames"),
        (["--media", "nowhere.mp4"], "nowhere.mp4"),
        (["--output", "no/such/folder/x.json"], "there is no folder"),
    ],
)
def test_odd_options_are_refused_in_words(words: list[str], message: str) -> None:
    done = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["bench", "video", *words])
    assert done.exit_code != 0
    assert message in done.output and "Traceback" not in done.output
