"""Clips whose frames carry their numbers, so that a wrong frame is known as one."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

Frame = np.ndarray[Any, np.dtype[np.uint8]]
"""(H, W, 3), RGB."""

NUM_BITS = 16
BAR = 8
"""Rows of the code are 1 / BAR of the height."""
RATE = 30
GOP = 48

KINDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "closed GOP, mp4": (".mp4", {"x264-params": "open-gop=0:bframes=3"}),
    "open GOP, mp4": (".mp4", {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal:scenecut=0"}),
    "MPEG-TS": (".ts", {"x264-params": "open-gop=0:bframes=3"}),
}
"""H.264 clips: their file's ending, and the encoder's options."""


def write_clips(
    folder: Path, *, width: int, height: int, num_frames: int
) -> Iterator[tuple[str, Path]]:
    """Write a clip of each kind, and yield its name and file."""
    for number, (name, (suffix, options)) in enumerate(KINDS.items()):
        path = folder / f"clip-{number}{suffix}"
        _write(path, options, width=width, height=height, num_frames=num_frames)
        yield name, path


def _write(
    path: Path, options: Mapping[str, str], *, width: int, height: int, num_frames: int
) -> None:
    backdrop = _texture(width, height)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "23", **options})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = GOP
        for number in range(num_frames):
            image = np.roll(backdrop, 3 * number, axis=1)  # a pan, as a camera's
            image[: height // BAR] = code(number, width)[None, :, None]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def code(number: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a row of ``width`` levels whose parts are the bits of a number."""
    bits = [235 if number >> bit & 1 else 16 for bit in range(NUM_BITS)]
    return np.array(bits, np.uint8)[np.arange(width) * NUM_BITS // width]


def number_on(frame_HWC: Frame) -> int:
    """Return the number that a frame carries."""
    height, width = frame_HWC.shape[:2]
    levels = frame_HWC[: height // BAR].mean(axis=(0, 2))
    parts = np.arange(width) * NUM_BITS // width
    return sum(1 << bit for bit in range(NUM_BITS) if levels[parts == bit].mean() > 128)


def _texture(width: int, height: int) -> Frame:
    """Return a picture with detail at several sizes, which an encoder has work with."""
    rng = np.random.default_rng(0)
    found = np.zeros((height, width, 3))
    for size in (4, 16, 64):
        small = rng.uniform(0, 80, (-(-height // size), -(-width // size), 3))
        found += np.kron(small, np.ones((size, size, 1)))[:height, :width]
    return found.astype(np.uint8)
