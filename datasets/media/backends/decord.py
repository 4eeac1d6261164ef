"""Video with decord, for files of which it gives exactly the frames that PyAV indexes.

decord 0.6 returns wrong frames after seeking in open-GOP streams, and counts frames that an edit
list discards, without an error: `VideoIndex.decord_refusal` must be None before `read`.
"""

import ctypes
import functools
import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from encodeonce.datasets.media.backends import pyav
from encodeonce.datasets.media.info import VideoIndex
from encodeonce.datasets.media.media import UndecodableMedia

# decord hands timestamps over as float32.
_TOLERANCE_S = 1e-3

# Both give the same pixels, up to the rounding of other versions. A frame that is turned, mirrored
# or coloured in another way is off by far more, unless it is nearly blank.
_TOLERANCE_LEVELS = 1.0


@functools.cache
def identity() -> str | None:
    """Return the backend's name and versions; None where decord cannot be imported."""
    try:
        decord = importlib.import_module("decord")
        libinfo = importlib.import_module("decord._ffi.libinfo")
        library = ctypes.CDLL(libinfo.find_lib_path()[0])
    except (ImportError, OSError, RuntimeError):
        return None
    # Found through decord's own library, so it is the FFmpeg that decord is linked to.
    version = library.av_version_info
    version.restype = ctypes.c_char_p
    return f"decord {decord.__version__}, FFmpeg {version().decode()}"


def disagreement(path: str, index: VideoIndex) -> str | None:
    """Say how decord's frames differ from ``index``: their number, times, and first picture.

    Returns None if they do not differ.

    Raises:
        UndecodableMedia: PyAV cannot decode the first frame.
    """
    decord = importlib.import_module("decord")
    bridge = importlib.import_module("decord.bridge")
    try:
        reader = _open(decord, path)
        if len(reader) != len(index.pts):
            return f"decord counts {len(reader)} frames, PyAV {len(index.pts)}"
        with bridge._BridgeScope("native"):
            first_HWC = reader[0].asnumpy()
        # decord takes padding for a fourth channel where the width is 16, 24, 48 or 72.
        if first_HWC.shape != (index.height, index.width, 3):
            return f"decord gives frames of shape {first_HWC.shape}"
        (ours_HWC,) = pyav.read(path, index, (0,)).astype(np.int16)
        if (off := float(np.abs(first_HWC - ours_HWC).mean())) > _TOLERANCE_LEVELS:
            return f"decord's first frame is not PyAV's: on average {off:.1f} of 255 levels off"
        starts_s = reader.get_frame_timestamp(list(range(len(reader))))[:, 0].astype(np.float64)
    except decord.DECORDError as error:
        return f"decord cannot open it: {_first_line(error)}"
    unit_s = index.time_base[0] / index.time_base[1]
    expected_s = (np.asarray(index.pts, dtype=np.float64) - index.pts[0]) * unit_s
    worst_s = float(np.max(np.abs(starts_s - starts_s[0] - expected_s)))
    allowed_s = _TOLERANCE_S + float(expected_s[-1]) * 2.0**-23
    if math.isnan(worst_s) or worst_s > allowed_s:
        return f"decord's timestamps differ from PyAV's by {worst_s:.3g} s"
    return None


def read(
    path: str, index: VideoIndex, indices: Sequence[int]
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the frames at ``indices``, (T, H, W, 3) RGB, upright.

    Raises:
        UndecodableMedia: decord fails, or returns frames of another number or size.
    """
    decord = importlib.import_module("decord")
    bridge = importlib.import_module("decord.bridge")
    try:
        reader = _open(decord, path)
        if len(reader) != len(index.pts):
            raise UndecodableMedia(
                f"{path}: decord now counts {len(reader)} frames, {len(index.pts)} when probed"
            )
        # Other libraries in this process may have asked decord for torch tensors.
        with bridge._BridgeScope("native"):
            pixels_THWC = reader.get_batch(list(indices)).asnumpy()
    except decord.DECORDError as error:
        raise UndecodableMedia(
            f"{path}: decord fails on it ({_first_line(error)}); with the video backend 'pyav' "
            f"it may be readable"
        ) from error
    expected = (len(indices), index.height, index.width, 3)
    if pixels_THWC.shape != expected:
        raise UndecodableMedia(f"{path}: decord gives {pixels_THWC.shape}, expected {expected}")
    return np.ascontiguousarray(pixels_THWC, dtype=np.uint8)


def _open(decord: Any, path: str) -> Any:
    # One reader per call: a reader used by two threads crashes.
    try:
        return decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    except RuntimeError as error:
        raise decord.DECORDError(str(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
