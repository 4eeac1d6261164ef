"""The frames that a benchmark of the kit asks for, and frames as files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.media import MediaRef, UndecodableMedia
from encodeonce.datasets.media.probe import probe
from encodeonce.datasets.media.sampling import (
    EveryInterval,
    FrameSampling,
    UniformInclusive,
    UniformInterior,
)
from encodeonce.harness.bridges.vlmevalkit.frames import FrameFiles, sampling_for
from tests.fixtures.clips import write_clip

TWO_A_SECOND = EveryInterval(fps=2.0, max_frames=64)


@pytest.mark.parametrize(
    ("default", "nframe", "fps", "expected"),
    [
        (UniformInclusive(num_frames=4), None, None, UniformInclusive(num_frames=4)),
        (UniformInclusive(num_frames=4), 8, None, UniformInclusive(num_frames=8)),
        (UniformInterior(num_frames=4), 8, None, UniformInterior(num_frames=8)),
        (TWO_A_SECOND, 8, None, UniformInclusive(num_frames=8)),
        (TWO_A_SECOND, None, 0.5, EveryInterval(fps=0.5, max_frames=64)),
        (UniformInterior(num_frames=4), None, 0.5, EveryInterval(fps=0.5)),
    ],
)
def test_the_benchmark_says_how_many_and_the_run_file_by_which_rule(
    default: FrameSampling, nframe: int | None, fps: float | None, expected: FrameSampling
) -> None:
    assert sampling_for(default, nframe, fps) == expected


def frame_files(folder: Path, num_frames: int) -> FrameFiles:
    ledger = Ledger(None)
    return FrameFiles(
        folder=folder / "frames",
        library=MediaLibrary(folder, ledger),
        ledger=ledger,
        backend="auto",
        sampling=UniformInclusive(num_frames=num_frames),
    )


def test_frames_are_written_once_without_loss(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", num_frames=9)
    ref = MediaRef(kind="video", path="a.mp4")
    three = frame_files(tmp_path, 3).paths(ref)
    assert [path.name for path in three] == ["frame-0.png", "frame-4.png", "frame-8.png"]
    written_ns = [path.stat().st_mtime_ns for path in three]
    five = frame_files(tmp_path, 5).paths(ref)
    assert set(three) < set(five)
    assert [path.stat().st_mtime_ns for path in three] == written_ns
    assert sorted(path.name for path in three[0].parent.iterdir()) == sorted(p.name for p in five)

    media = MediaLibrary(tmp_path, Ledger(None)).resolve(ref)
    frames = decode(media, probe(media, ledger=Ledger(None)), (0, 4, 8))
    for path, pixels in zip(three, frames.pixels_THWC, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), pixels)


def test_a_file_that_is_no_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(UndecodableMedia):
        frame_files(tmp_path, 3).paths(MediaRef(kind="video", path="a.mp4"))
