"""Excerpts are successive frames of the videos, whichever the file they lie in."""

from pathlib import Path

import numpy as np
import pytest

from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.write_video import write_video
from encodeonce.datasets.needle.haystack import Haystack

SIZE = (32, 32)


def film(path: Path, levels: range, fps: int = 2) -> Path:
    """Write grey frames; a level is shown for one frame."""
    frames = (np.full((32, 32, 3), level, dtype=np.uint8) for level in levels)
    write_video(path, frames, fps=fps, crf=10)
    return path


def levels(haystack: Haystack, length: int, start: float) -> list[int]:
    found = haystack.excerpt(length, start, SIZE)
    return [round(float(pixels_HWC.mean())) for pixels_HWC in found]


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    """Forty frames at two a second, then ten more."""
    return [
        film(tmp_path / "a.mp4", range(0, 80, 2)),
        film(tmp_path / "b.mp4", range(100, 120, 2)),
    ]


def test_all_frames_are_those_of_every_second_file_after_file(videos: list[Path]) -> None:
    haystack = Haystack(videos, 1.0, Ledger(None))
    assert haystack.num_frames == 25
    expected = [*range(0, 80, 4), *range(100, 120, 4)]
    assert levels(haystack, 25, 0.5) == pytest.approx(expected, abs=2)


def test_an_excerpt_may_begin_in_one_file_and_end_in_the_next(videos: list[Path]) -> None:
    haystack = Haystack(videos, 1.0, Ledger(None))
    assert levels(haystack, 5, 17.6 / 20) == pytest.approx([72, 76, 100, 104, 108], abs=2)
    assert levels(haystack, 2, 0.0) == pytest.approx([0, 4], abs=2)
    assert levels(haystack, 2, 1.0) == pytest.approx([112, 116], abs=2)


def test_the_same_file_twice_is_two_files(videos: list[Path]) -> None:
    haystack = Haystack([videos[1], videos[1]], 1.0, Ledger(None))
    assert levels(haystack, 10, 0.0) == pytest.approx([*range(100, 120, 4)] * 2, abs=2)


def test_a_step_below_the_rate_takes_every_frame_once(videos: list[Path]) -> None:
    assert Haystack(videos, 0.01, Ledger(None)).num_frames == 50
    assert Haystack(videos, 1000.0, Ledger(None)).num_frames == 2
