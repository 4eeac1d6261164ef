"""Facts about a media file that are known before its frames are decoded."""

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from encodeonce.datasets.media.media import MediaKind

Backend = Literal["pillow", "decord", "pyav", "torchcodec", "memory"]
"""What reads a file. ``memory``: the frames came with the media item; nothing is decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoIndex:
    """The frames that a video gives, in presentation order, and how to reach them."""

    codec: str
    width: int
    height: int
    """After the rotation that the file asks for, like `width`."""
    pts: tuple[int, ...]
    """Presentation time of each frame, in units of `time_base`, strictly increasing."""
    time_base: tuple[int, int]
    """Numerator and denominator of one unit of `pts`, seconds."""
    keyframes: tuple[int, ...]
    """pts of the frames that can be sought; empty where frames are counted from the start."""
    orientation: str
    """How frames become upright, where that takes more than one rotation by quarter turns for all
    of them; empty otherwise. Earlier versions gave other pixels there."""
    decord_refusal: str | None
    """Why decord would not return exactly these frames; None if it does."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `pts` as runs of equal steps, a few bytes for most videos."""
        steps = (b - a for a, b in zip((0, *self.pts), self.pts, strict=False))
        runs = [[step, len(list(run))] for step, run in groupby(steps)]
        return {**asdict(self), "pts": runs}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "VideoIndex":
        """Read what `to_json` returned.

        Raises:
            TypeError, KeyError, ValueError: ``value`` is something else.
        """
        pts: list[int] = []
        for step, count in value["pts"]:
            start = pts[-1] if pts else 0
            pts.extend(start + step * (n + 1) for n in range(count))
        numerator, denominator = value["time_base"]
        fields = {**value, "pts": tuple(pts), "keyframes": tuple(value["keyframes"])}
        return cls(**{**fields, "time_base": (numerator, denominator)})


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What a media file holds, and what will read it."""

    kind: MediaKind
    width: int
    """Pixels, after rotation (video) or EXIF orientation (image), like `height`."""
    height: int
    codec: str
    """``"h264"``, ``"JPEG"``, …"""
    timestamps_s: tuple[float, ...]
    """Presentation time of each frame, seconds after the first; ``(0.0,)`` for an image."""
    fps: float
    """Average rate between the first frame and the last; 0.0 where there is one frame."""
    backend: Backend
    """What will read it."""
    decoder: str
    """The backend's name and versions, and what it does beyond reading pixels as they are stored;
    it goes into stored signatures under this field's name."""
    index: VideoIndex | None
    """None for an image."""

    @property
    def num_frames(self) -> int:
        """Number of frames; 1 for an image."""
        return len(self.timestamps_s)
