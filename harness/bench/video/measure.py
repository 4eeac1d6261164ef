"""Measures the readers of videos: whether frames are those asked for, and how many a second.

Readers read what they are asked for here even where a run would refuse them, so that it shows what
the refusal prevents.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encodeonce.datasets.media.backends import decord, pyav, torchcodec
from encodeonce.datasets.media.digest import file_sha256
from encodeonce.datasets.media.info import VideoIndex
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import Media, MediaError
from encodeonce.datasets.media.packet_index import build_index
from encodeonce.datasets.media.probe import UnsuitableBackend, VideoBackend, probe
from encodeonce.datasets.media.sampling import uniform_inclusive
from encodeonce.harness.bench.video.clips import Frame, number_on, write_clips

Read = Callable[[str, VideoIndex, Sequence[int]], np.ndarray[Any, np.dtype[np.uint8]]]

READERS: Mapping[VideoBackend, tuple[Callable[[], str | None], Read]] = {
    "pyav": (pyav.identity, pyav.read),
    "torchcodec": (torchcodec.identity, torchcodec.read),
    "decord": (decord.identity, decord.read),
}

SPARSE, DENSE = 16, 128
"""Frames evenly spaced over a video, and frames in a row from the middle on."""

SAME_LEVELS = 2.0
"""Mean difference to PyAV's frame, of 255 levels, up to which a frame is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoBench:
    """What to measure."""

    videos: tuple[Path, ...] = ()
    """Of the user's own; none: clips that carry their frames' numbers are made."""
    width: int = 640
    height: int = 360
    num_frames: int = 600
    num_runs: int = 3
    folder: Path = Path()
    """Where clips are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoCell:
    """One reader on one video, by one pattern of frames."""

    video: str
    reader: str
    pattern: str
    num_frames: int
    num_wrong: int | None
    """None where nothing came out."""
    seconds: tuple[float, ...]
    """Of each run."""
    error: str | None
    refusal: str | None
    """Why a run would refuse the reader on this video; None if it would not."""

    @property
    def frames_per_s(self) -> float | None:
        """By the median; None where nothing came out."""
        return self.num_frames / statistics.median(self.seconds) if self.seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """A measurement."""

    bench: VideoBench
    readers: Mapping[VideoBackend, str | None]
    """Versions by name; None for one that is not installed."""
    cells: tuple[VideoCell, ...]


def run_video_bench(bench: VideoBench, on_step: Callable[[str], None]) -> VideoResult:
    """Write clips, if no videos are given, and read them with all readers, in a random order.

    Raises:
        MediaError: PyAV cannot read a video.
        OSError: there is no such video, or clips cannot be written.
    """
    on_step("clips")
    size = {"width": bench.width, "height": bench.height, "num_frames": bench.num_frames}
    named = [(path.name, path) for path in bench.videos] or list(write_clips(bench.folder, **size))
    versions = {name: identity() for name, (identity, _) in READERS.items()}
    cells: list[VideoCell] = []
    for name, path in named:
        cells += _measure(name, path, bench, versions, on_step)
    return VideoResult(bench=bench, readers=versions, cells=tuple(cells))


def _measure(
    name: str,
    path: Path,
    bench: VideoBench,
    versions: Mapping[VideoBackend, str | None],
    on_step: Callable[[str], None],
) -> list[VideoCell]:
    index = build_index(str(path))
    refusals = {reader: _refusal(path, reader) for reader, version in versions.items() if version}
    cells = []
    for pattern, indices in _patterns(len(index.pts)).items():
        on_step(f"{name}, {pattern}")
        expected = None if not bench.videos else pyav.read(str(path), index, indices)
        tried = {reader: _try(reader, path, index, indices, expected) for reader in refusals}
        seconds: dict[VideoBackend, list[float]] = {reader: [] for reader in tried}
        for _ in range(bench.num_runs):
            order = [reader for reader, (_, error) in tried.items() if error is None]
            random.shuffle(order)
            for reader in order:
                started_s = time.perf_counter()
                READERS[reader][1](str(path), index, indices)
                seconds[reader].append(time.perf_counter() - started_s)
        cells += [
            VideoCell(
                video=name,
                reader=reader,
                pattern=pattern,
                num_frames=len(indices),
                num_wrong=num_wrong,
                seconds=tuple(seconds[reader]),
                error=error,
                refusal=refusals[reader],
            )
            for reader, (num_wrong, error) in tried.items()
        ]
    return cells


def _patterns(num_frames: int) -> dict[str, tuple[int, ...]]:
    start = num_frames // 2
    row = tuple(range(start, min(num_frames, start + DENSE)))
    sparse = uniform_inclusive(num_frames, min(SPARSE, num_frames))
    return {f"{len(sparse)} spread": sparse, f"{len(row)} in a row": row}


def _try(
    reader: VideoBackend,
    path: Path,
    index: VideoIndex,
    indices: Sequence[int],
    expected: np.ndarray[Any, np.dtype[np.uint8]] | None,
) -> tuple[int | None, str | None]:
    """Read once, uncounted; return how many frames are wrong, or what went wrong."""
    try:
        found = READERS[reader][1](str(path), index, indices)
    except MediaError as error:
        return None, str(error).removeprefix(f"{path}: ")
    if expected is None:
        wrong = [number_on(one) != wanted for one, wanted in zip(found, indices, strict=True)]
    else:
        wrong = [not _is_same(one, ours) for one, ours in zip(found, expected, strict=True)]
    return sum(wrong), None


def _is_same(one_HWC: Frame, other_HWC: Frame) -> bool:
    return float(np.abs(one_HWC.astype(np.int16) - other_HWC).mean()) <= SAME_LEVELS


def _refusal(path: Path, reader: VideoBackend) -> str | None:
    ledger = Ledger(None)
    media = Media(kind="video", uri=str(path), sha256=file_sha256(path, ledger))
    try:
        probe(media, ledger=ledger, backend=reader)
    except UnsuitableBackend as error:
        return str(error).partition("(")[2].rpartition(")")[0]
    return None
