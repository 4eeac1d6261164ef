"""Write videos of our own making: H.264 in mp4, the same bytes every time."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

# x264's SIMD code rounds differently from run to run (measured: several different files from six
# runs in one process); `cpu-independent` and one thread give the same bytes every time.
# `bitexact` keeps library versions and dates out of the container.
_ENCODER_OPTIONS = {
    "preset": "slow",
    "g": "24",
    "threads": "1",
    "x264-params": "cpu-independent=1",
}
_CONTAINER_OPTIONS = {"fflags": "+bitexact", "movflags": "+faststart"}


def write_video(path: Path, frames: Iterator[np.ndarray], *, fps: int, crf: int) -> None:
    """Encode frames as an H.264 mp4 file.

    The same frames give the same bytes under the same library versions.

    Args:
        path: of the file, which ends in ``.mp4``.
        frames: at least one; (H, W, 3) uint8, RGB, all of one size, with even H and W.
        fps: frames a second.
        crf: x264's constant rate factor: 18 is hard to tell from the original, 24 is visibly lossy.

    Raises:
        OSError: the file cannot be written.
    """
    with av.open(str(path), "w", container_options=_CONTAINER_OPTIONS) as container:
        options = {**_ENCODER_OPTIONS, "crf": str(crf)}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        first = next(frames)
        stream.height, stream.width = first.shape[:2]
        for pixels_HWC in itertools.chain((first,), frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels_HWC, format="rgb24")))
        container.mux(stream.encode())
