"""Thumbnails of frames, and the reasons given where there are none."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from encodeonce.datasets.registry import load_benchmark
from encodeonce.harness.report.thumbnails import HEIGHT_PX, MOST_FRAMES, previews
from tests.harness.runs import write_run

GONE = {
    "name": "questions",
    "label": "demo",
    "options": {"file": "gone.jsonl", "media_root": "gone"},
}
SAMPLES = [("demo", sample.id) for sample in load_benchmark("demo", {}).samples() if sample.choices]


def run(folder: Path, **config: Any) -> dict[str, Any]:
    cache = {"path": str(folder / "cache")}
    return write_run(folder / "run", [], **{"cache": cache, **config}).description()


def test_a_sample_is_shown_with_the_frames_that_the_run_took(tmp_path: Path) -> None:
    frames = {"policy": "uniform_inclusive", "num_frames": 3}
    (preview,) = previews(run(tmp_path, frames=frames), SAMPLES[:1]).values()
    assert [frame.caption for frame in preview.strip.frames][0] == "0.0 s"
    assert (len(preview.strip.frames), preview.strip.num_seen, preview.strip.missing) == (3, 3, "")
    for frame in preview.strip.frames:
        with Image.open(io.BytesIO(base64.b64decode(frame.jpeg_base64))) as image:
            assert image.format == "JPEG"
            assert image.size == (frame.width_px, frame.height_px)
            assert image.height == HEIGHT_PX
    assert len(preview.choices) == 4


def test_of_many_frames_some_are_shown_from_first_to_last(tmp_path: Path) -> None:
    frames = {"policy": "uniform_inclusive", "num_frames": 20}
    (preview,) = previews(run(tmp_path, frames=frames), SAMPLES[:1]).values()
    assert (len(preview.strip.frames), preview.strip.num_seen) == (MOST_FRAMES, 20)
    times = [float(frame.caption.removesuffix(" s")) for frame in preview.strip.frames]
    assert times == sorted(times) and times[0] == 0.0 and times[-1] > 7.5


def test_pictures_are_limited_in_bytes_and_time(tmp_path: Path) -> None:
    one_a_video = list(dict.fromkeys(SAMPLES[::3]))[:4]
    description = run(tmp_path)
    small = previews(description, one_a_video, most_bytes=10_000)
    missing = [preview.strip.missing for preview in small.values()]
    assert missing[0] == "" and "to keep this page small" in missing[-1]
    late = previews(description, one_a_video, most_s=-1.0)
    assert all("took too long" in preview.strip.missing for preview in late.values())


@pytest.mark.parametrize(
    ("config", "known", "words"),
    [
        ({}, ["0" * 64], "has changed since the run used it"),
        ({"benchmarks": [{"name": "demo", "label": "other"}]}, [], "no longer has this sample"),
        ({"benchmarks": [{"name": "gone"}]}, [], "no longer has this sample"),
        ({"benchmarks": [{"name": "gone", "label": "demo"}]}, [], "no benchmark is called 'gone'"),
        ({"benchmarks": [GONE]}, [], "cannot be read here: .*gone"),
    ],
)
def test_what_is_missing_is_said(
    tmp_path: Path, config: dict[str, Any], known: list[str], words: str
) -> None:
    (preview,) = previews(run(tmp_path, **config), SAMPLES[:1], known_sha256=known).values()
    assert preview.strip.frames == ()
    assert re.search(words, preview.strip.missing)


def test_a_missing_media_is_said(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(
        '{"id": "1", "video": "gone.mp4", "question": "What?", "answer": "a"}\n', "utf-8"
    )
    options = {"file": str(tmp_path / "q.jsonl"), "media_root": str(tmp_path)}
    description = run(tmp_path, benchmarks=[{"name": "questions", "options": options}])
    (preview,) = previews(description, [("questions", "1")]).values()
    assert "MissingMedia" in preview.strip.missing
