"""Videos of our own making: what was given comes back, the same bytes every time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.digest import file_sha256
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import Media
from encodeonce.datasets.media.probe import probe
from encodeonce.datasets.media.write_video import write_video

LEVELS = (20, 90, 160, 230, 60)


def frames() -> Iterator[np.ndarray]:
    for level in LEVELS:
        yield np.full((34, 50, 3), level, dtype=np.uint8)


def test_frames_come_back_at_their_times(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, frames(), fps=2, crf=18)
    media = Media(kind="video", uri=str(path), sha256=file_sha256(path, Ledger(None)))
    info = probe(media, ledger=Ledger(None))
    assert (info.width, info.height) == (50, 34)
    assert info.timestamps_s == pytest.approx((0, 0.5, 1, 1.5, 2))
    found = decode(media, info, range(5)).pixels_THWC
    assert found.mean(axis=(1, 2, 3)) == pytest.approx(LEVELS, abs=3)


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames(), fps=2, crf=18)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_video(tmp_path / "absent" / "a.mp4", frames(), fps=2, crf=18)
