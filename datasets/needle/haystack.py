"""The frames among which needles are hidden: excerpts of real videos."""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.digest import file_sha256
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import Media, MediaError
from encodeonce.datasets.media.probe import probe
from encodeonce.datasets.media.sampling import every_interval
from encodeonce.datasets.sample import BenchmarkError

SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")
"""Of the videos that are taken from a folder."""

_AT_ONCE = 16
"""Frames decoded by one call: a film's do not fit into memory."""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class _Video(NamedTuple):
    media: Media
    info: MediaInfo
    indices: tuple[int, ...]
    """Of the frames that are taken."""


class Haystack:
    """The videos' frames, one every so many seconds, file after file."""

    def __init__(self, videos: Sequence[Path], every_s: float, ledger: Ledger) -> None:
        """Look for videos.

        Args:
            videos: files, and folders whose videos are taken in the order of their names.
            every_s: seconds from one frame to the next.
            ledger: keeps what files are found to hold.

        Raises:
            BenchmarkError: one is not there, or a folder holds no video.
        """
        self._files = [file for path in videos for file in _files(path)]
        self._every_s = every_s
        self._ledger = ledger

    @cached_property
    def sha256(self) -> tuple[str, ...]:
        """Digests of the files, in their order.

        Raises:
            BenchmarkError: a file cannot be read.
        """
        return tuple(video.sha256 for video in self._media)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the first video, even numbers.

        Raises:
            BenchmarkError: a video cannot be read.
        """
        info = self._videos[0].info
        return info.width // 2 * 2, info.height // 2 * 2

    @property
    def num_frames(self) -> int:
        """Number of frames.

        Raises:
            BenchmarkError: a video cannot be read.
        """
        return sum(len(video.indices) for video in self._videos)

    def excerpt(self, length: int, start: float, size_px: tuple[int, int]) -> Iterator[Pixels]:
        """Yield successive frames, scaled and cut to a size: (H, W, 3) uint8, RGB.

        Args:
            length: number of frames, at most `num_frames`.
            start: where the excerpt lies between the first possible place, 0, and the last, 1.
            size_px: width and height.

        Raises:
            BenchmarkError: a video cannot be read.
        """
        first = round(start * (self.num_frames - length))
        left = length
        for video in self._videos:
            taken = video.indices[first : first + left]
            first, left = max(0, first - len(video.indices)), left - len(taken)
            for at in range(0, len(taken), _AT_ONCE):
                for pixels_HWC in _decoded(video, taken[at : at + _AT_ONCE]):
                    yield _fitted(pixels_HWC, size_px)

    @cached_property
    def _media(self) -> list[Media]:
        found = []
        for file in self._files:
            try:
                digest = file_sha256(file, self._ledger)
            except OSError as error:
                raise BenchmarkError(f"videos: {file} cannot be read: {error}") from error
            found.append(Media(kind="video", uri=str(file), sha256=digest))
        return found

    @cached_property
    def _videos(self) -> list[_Video]:
        found = []
        for media in self._media:
            try:
                info = probe(media, ledger=self._ledger)
            except MediaError as error:
                raise BenchmarkError(f"videos: {error}") from error
            indices = every_interval(info.timestamps_s, 1 / self._every_s, None)
            found.append(_Video(media, info, indices))
        return found


def draw_start(rng: random.Random) -> float:
    """Draw where an excerpt starts; see `Haystack.excerpt`."""
    return round(rng.random(), 6)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BenchmarkError(f"videos: there is no file or folder {path}")
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise BenchmarkError(f"videos: {path} cannot be listed: {error}") from error
    # A pipe of that name would be waited for.
    files = [one for one in entries if one.suffix.lower() in SUFFIXES and one.is_file()]
    if not files:
        raise BenchmarkError(f"videos: no file in {path} ends in {', '.join(SUFFIXES)}")
    return files


def _decoded(video: _Video, indices: Sequence[int]) -> Iterator[Pixels]:
    try:
        yield from decode(video.media, video.info, indices).pixels_THWC
    except MediaError as error:
        raise BenchmarkError(f"videos: {error}") from error


def _fitted(pixels_HWC: Pixels, size_px: tuple[int, int]) -> Pixels:
    height, width = pixels_HWC.shape[:2]
    if (width, height) == size_px:
        return pixels_HWC
    return np.asarray(ImageOps.fit(Image.fromarray(pixels_HWC), size_px))
