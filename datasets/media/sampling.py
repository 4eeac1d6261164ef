"""Choose the frames of a video that a model sees: pure functions, by the field's conventions.

N frames in the video (or clip), n frames wanted. Every policy returns strictly increasing indices.
"""

import bisect
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import EmptyMedia

# Half of the shortest step any container can write, so that 1/3 + 1/3 + 1/3 reaches 1.0.
_EPSILON_S = 5e-7


def uniform_inclusive(N: int, n: int) -> tuple[int, ...]:
    """Return n indices from the first frame to the last, evenly spaced, truncated to integers.

    ``np.linspace(0, N - 1, n, dtype=int)``, the convention of LLaVA-NeXT, LongVA and the
    lmms-eval models derived from them. n = 1 gives the first frame; N <= n gives all frames
    (there, the originals repeat frames).
    """
    if n >= N:
        return tuple(range(N))
    return tuple(np.linspace(0, N - 1, n, dtype=int).tolist())


def uniform_interior(N: int, n: int) -> tuple[int, ...]:
    """Return n indices strictly inside the video: ``int(i * (N / (n + 1)))`` for i = 1..n.

    The convention of VLMEvalKit's video benchmarks. N <= n gives all frames (there, the original
    repeats frames).
    """
    if n >= N:
        return tuple(range(N))
    step = N / (n + 1)
    return tuple(int(i * step) for i in range(1, n + 1))


def every_interval(
    timestamps_s: Sequence[float], fps: float, max_frames: int | None
) -> tuple[int, ...]:
    """Return the frame on screen at every 1/fps seconds, counted from the first frame.

    For a constant rate that is a multiple of ``fps`` this is LLaVA-Video's stride of
    ``round(rate / fps)`` frames; for other rates, and variable ones, it keeps to the clock, which
    the stride does not. A video of a lower rate gives each frame once. More than ``max_frames``
    are replaced by `uniform_inclusive` of ``max_frames``, as in LLaVA-Video.
    """
    indices = tuple(dict.fromkeys(_on_screen(timestamps_s, fps)))
    if max_frames is not None and len(indices) > max_frames:
        return uniform_inclusive(len(timestamps_s), max_frames)
    return indices


def _on_screen(timestamps_s: Sequence[float], fps: float) -> Iterator[int]:
    """Yield the frame on screen at every 1/fps seconds; most ticks that repeat one are left out."""
    # All frames are seen at this rate; whatever is above it may overflow.
    fps = min(fps, 1 / _EPSILON_S)
    start_s = timestamps_s[0]
    num_ticks = int((timestamps_s[-1] - start_s + _EPSILON_S) * fps) + 1
    tick = 0
    while tick < num_ticks:
        index = bisect.bisect_right(timestamps_s, start_s + tick / fps + _EPSILON_S) - 1
        yield index
        if index + 1 == len(timestamps_s):
            return
        # To the tick before the next frame's first, lest rounding miss that one.
        until_next_s = timestamps_s[index + 1] - start_s - _EPSILON_S
        tick = max(tick + 1, math.ceil(until_next_s * fps) - 1)


def clip_range(info: MediaInfo, clip_s: tuple[float, float] | None) -> range:
    """Return the indices of the frames whose presentation time lies in ``[start, end)``.

    Raises:
        EmptyMedia: there is none.
    """
    if clip_s is None or info.kind == "image":
        return range(info.num_frames)
    start, end = (bisect.bisect_left(info.timestamps_s, t - _EPSILON_S) for t in clip_s)
    if start >= end:
        raise EmptyMedia(
            f"no frame in the clip [{clip_s[0]}, {clip_s[1]}) s: the video's {info.num_frames} "
            f"frames lie in [0, {info.timestamps_s[-1]:.3f}] s"
        )
    return range(start, end)


class _Policy(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UniformInclusive(_Policy):
    """`uniform_inclusive` over the video or clip."""

    policy: Literal["uniform_inclusive"] = "uniform_inclusive"
    num_frames: int = Field(ge=1)

    def indices(self, info: MediaInfo, clip_s: tuple[float, float] | None) -> tuple[int, ...]:
        """Return the frames to decode; ``(0,)`` for an image. Raises `EmptyMedia`."""
        frames = clip_range(info, clip_s)
        return tuple(frames[i] for i in uniform_inclusive(len(frames), self.num_frames))


class UniformInterior(_Policy):
    """`uniform_interior` over the video or clip."""

    policy: Literal["uniform_interior"] = "uniform_interior"
    num_frames: int = Field(ge=1)

    def indices(self, info: MediaInfo, clip_s: tuple[float, float] | None) -> tuple[int, ...]:
        """Return the frames to decode; ``(0,)`` for an image. Raises `EmptyMedia`."""
        frames = clip_range(info, clip_s)
        return tuple(frames[i] for i in uniform_interior(len(frames), self.num_frames))


class EveryInterval(_Policy):
    """`every_interval` over the video or clip."""

    policy: Literal["fps"] = "fps"
    fps: float = Field(gt=0, allow_inf_nan=False)
    """Frames a second of video."""
    max_frames: int | None = Field(default=None, ge=1)

    def indices(self, info: MediaInfo, clip_s: tuple[float, float] | None) -> tuple[int, ...]:
        """Return the frames to decode; ``(0,)`` for an image. Raises `EmptyMedia`."""
        frames = clip_range(info, clip_s)
        timestamps_s = info.timestamps_s[frames.start : frames.stop]
        return tuple(frames[i] for i in every_interval(timestamps_s, self.fps, self.max_frames))


FrameSampling = Annotated[
    UniformInclusive | UniformInterior | EveryInterval, Field(discriminator="policy")
]
"""What a user writes: ``{policy: uniform_inclusive, num_frames: 8}``."""
