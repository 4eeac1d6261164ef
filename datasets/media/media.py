"""Media files: how they are named, what they hold, and the errors they give.

No torch here: this folder is imported by processes that only decode.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

MediaKind = Literal["image", "video"]


class MediaError(ValueError):
    """A media file cannot be used. Only the samples that ask for it fail."""


class MissingMedia(MediaError):
    """There is no file at the path that the sample names."""


class MediaOutsideRoot(MediaError):
    """The path leaves the media root (``..``, an absolute path, a link that points outside)."""


class UndecodableMedia(MediaError):
    """The file is damaged, truncated, or not of the kind the sample says."""


class EmptyMedia(MediaError):
    """A video without a single frame, or a clip that contains none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRef:
    """A media file as a benchmark names it: relative to the benchmark's media root."""

    kind: MediaKind
    path: str
    clip_s: tuple[float, float] | None = None
    """Part of a video, [start, end) in seconds; None: all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A media file that exists, with the digest of its content."""

    kind: MediaKind
    uri: str
    """Absolute path of the file."""
    sha256: str
    """Digest of the file's bytes, hexadecimal: its identity, wherever it is kept."""
    clip_s: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Decoded frames. T frames of H x W pixels."""

    pixels_THWC: np.ndarray[Any, np.dtype[np.uint8]]
    """(T, H, W, 3), RGB."""
    timestamps_s: tuple[float, ...]
    """Presentation time of each frame, seconds; ``(0.0,)`` for an image."""
