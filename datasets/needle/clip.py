"""A clip with needles in it: its recipe, and the file made after it.

A file is named by the digest of its recipe, which says everything that is to be seen in it. So what
a question asks is what its file shows, whichever version drew the recipe, and a file that is there
needs not be made again.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from encodeonce.datasets.media.write_video import write_video
from encodeonce.datasets.needle.haystack import Haystack, Pixels
from encodeonce.datasets.needle.label import LEAST_HEIGHT_PX, Label, with_label
from encodeonce.datasets.sample import BenchmarkError

logger = logging.getLogger(__name__)

FPS = 1
"""Frames a second of the clips, so that a frame's number is its time in seconds."""
_CRF = 18
_SCHEMA = 1
"""Raised when the same recipe comes to give other pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needle:
    """A label in one frame."""

    frame: int
    label: Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The recipe of a clip."""

    length: int
    """Number of frames."""
    start: float
    """Where its frames lie in the haystack; see `Haystack.excerpt`."""
    every_s: float
    """Seconds of the sources between two frames."""
    size_px: tuple[int, int] | None
    """Width and height; None: the first source's."""
    label_height: float
    """As a fraction of the frame's."""
    needles: tuple[Needle, ...]

    def file_name(self, sources_sha256: tuple[str, ...]) -> str:
        """Return the name of the clip made of these sources."""
        recipe = {"schema": _SCHEMA, "sources": sources_sha256, **asdict(self)}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest() + ".mp4"


def make_clip(clip: Clip, haystack: Haystack, folder: Path) -> str:
    """Write a clip unless it is there; return its file's name.

    Raises:
        BenchmarkError: the sources have too few frames, labels would be too small to be read, or a
            file cannot be read or written.
    """
    name = clip.file_name(haystack.sha256)
    with _writing(folder / name):
        if (folder / name).is_file():
            return name
    if clip.length > haystack.num_frames:
        raise BenchmarkError(
            f"lengths: {clip.length} frames are wanted, and the videos give {haystack.num_frames}, "
            f"one every {clip.every_s:g} s; use shorter `lengths`, a smaller `every_s`, or more "
            "`videos`"
        )
    size_px = clip.size_px or haystack.size_px
    if (height_px := clip.label_height * size_px[1]) < LEAST_HEIGHT_PX:
        raise BenchmarkError(
            f"label_height: labels of {clip.label_height:g} times {size_px[1]} pixels are "
            f"{height_px:.1f} pixels high, and nobody can read less than {LEAST_HEIGHT_PX}; use at "
            f"least {LEAST_HEIGHT_PX / size_px[1]:.2f}, or a larger `size_px`"
        )
    _announce(folder)
    private = folder / f".{uuid.uuid4().hex}.mp4"
    with _writing(folder / name):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_video(private, _frames(clip, haystack, size_px), fps=FPS, crf=_CRF)
            private.replace(folder / name)
        finally:
            private.unlink(missing_ok=True)
    return name


@cache
def _announce(folder: Path) -> None:
    """Say once in a process why nothing else happens for a while."""
    logger.warning("clips are made in %s, where later runs will find them", folder)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write a clip into our own error."""
    try:
        yield
    except OSError as error:
        raise BenchmarkError(
            f"folder: the clip {path} cannot be written: {error.strerror or error}. Free space or "
            "get write access there, remove what is in the way, or name another folder, and repeat "
            "the command: clips that are there are not made again"
        ) from error


def _frames(clip: Clip, haystack: Haystack, size_px: tuple[int, int]) -> Iterator[Pixels]:
    labels = {needle.frame: needle.label for needle in clip.needles}
    for number, pixels_HWC in enumerate(haystack.excerpt(clip.length, clip.start, size_px)):
        label = labels.get(number)
        yield pixels_HWC if label is None else with_label(pixels_HWC, label, clip.label_height)
