"""Video with torchcodec, PyTorch's own decoder, over the FFmpeg of the system.

It is asked for by name alone. It finds frames by a scan of the packets (``seek_mode="exact"``), and
every frame comes with its time, which is compared with the index: a wrong frame is an error.
"""

import functools
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from encodeonce.datasets.media.backends import pyav
from encodeonce.datasets.media.info import VideoIndex
from encodeonce.datasets.media.media import UndecodableMedia

# torchcodec hands times over as float64 seconds, made of the stream's own units.
_TOLERANCE_S = 1e-4

# As decord's: rounding of other versions of FFmpeg, never another picture.
_TOLERANCE_LEVELS = 1.0

_NUM_THREADS = 4
"""As many as PyAV has."""


@functools.cache
def identity() -> str | None:
    """Return the backend's name and versions; None where torchcodec cannot be imported."""
    try:
        torchcodec = importlib.import_module("torchcodec")
        importlib.import_module("torchcodec.decoders")
        versions = importlib.import_module("torchcodec._core").get_ffmpeg_library_versions()
    except (ImportError, OSError, RuntimeError, AttributeError):
        return None
    return f"torchcodec {torchcodec.__version__}, FFmpeg {versions['ffmpeg_version']}"


def disagreement(path: str, index: VideoIndex) -> str | None:
    """Say how torchcodec's frames differ from ``index``: their number, and first picture.

    Times need no check here: `read` compares those of all frames that it returns.

    Raises:
        UndecodableMedia: PyAV cannot decode the first frame.
    """
    if index.orientation:
        return f"frames are {index.orientation}, which torchcodec does not do"
    if not index.keyframes:
        return "its packets do not tell which frames come out"
    try:
        decoder = _open(path)
        if decoder.metadata.num_frames != len(index.pts):
            return f"torchcodec counts {decoder.metadata.num_frames} frames, PyAV {len(index.pts)}"
        first_HWC = decoder.get_frames_at([0]).data.numpy()[0].astype(np.int16)
    except (RuntimeError, ValueError) as error:
        return f"torchcodec cannot open it: {_first_line(error)}"
    if first_HWC.shape != (index.height, index.width, 3):
        return f"torchcodec gives frames of shape {first_HWC.shape}"
    (ours_HWC,) = pyav.read(path, index, (0,)).astype(np.int16)
    if (off := float(np.abs(first_HWC - ours_HWC).mean())) > _TOLERANCE_LEVELS:
        return f"torchcodec's first frame is not PyAV's: on average {off:.1f} of 255 levels off"
    return None


def read(
    path: str, index: VideoIndex, indices: Sequence[int]
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the frames at ``indices``, (T, H, W, 3) RGB, upright.

    Raises:
        UndecodableMedia: torchcodec fails, or returns frames of another number, size or time.
    """
    try:
        # One decoder per call: it is not made for several threads.
        batch = _open(path).get_frames_at(list(indices))
    except (RuntimeError, ValueError, IndexError) as error:
        raise UndecodableMedia(
            f"{path}: torchcodec fails on it ({_first_line(error)}); with the video backend "
            "'pyav' it may be readable"
        ) from error
    pixels_THWC = batch.data.numpy()
    expected = (len(indices), index.height, index.width, 3)
    if pixels_THWC.shape != expected:
        raise UndecodableMedia(f"{path}: torchcodec gives {pixels_THWC.shape}, expected {expected}")
    unit_s = index.time_base[0] / index.time_base[1]
    wanted_s = np.asarray([index.pts[position] for position in indices]) * unit_s
    worst_s = float(np.abs(batch.pts_seconds.numpy() - wanted_s).max())
    if not worst_s <= _TOLERANCE_S:
        raise UndecodableMedia(
            f"{path}: torchcodec gives other frames than those asked for, {worst_s:.3g} s off; "
            "use the video backend 'pyav'"
        )
    return np.ascontiguousarray(pixels_THWC, dtype=np.uint8)


def _open(path: str) -> Any:
    decoders = importlib.import_module("torchcodec.decoders")
    return decoders.VideoDecoder(
        path, dimension_order="NHWC", num_ffmpeg_threads=_NUM_THREADS, seek_mode="exact"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
