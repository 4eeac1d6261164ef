"""How a video's frames are to be turned and mirrored: what FFmpeg's autorotation does.

A frame carries a 3 x 3 display matrix. FFmpeg looks at its upper left 2 x 2: at the angle of the
first row, rounded to whole degrees, and, at multiples of 90, at the signs that tell a mirror image.
Matrices come from the container (MP4's track header, Matroska's projection), from messages in H.264
and HEVC streams, and from Exif in Motion JPEG; the last two may change from frame to frame.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

# PyAV refuses to list a frame's side data if one is of a kind that it has no name for.
_UNNAMED_TYPES = range(len(Type), 64)

_MATRIX_BYTES = 36


class Orientation(NamedTuple):
    """What makes a stored frame upright: quarter turns, then a mirror; or another angle."""

    num_quarter_turns: int = 0
    """Anticlockwise, 0 to 3."""
    is_mirrored: bool = False
    """Left and right change places, after the turn."""
    odd_degrees: int = 0
    """Clockwise, where it is no multiple of 90: about the middle, in a frame of the same size."""
    has_angle: bool = True
    """False for a matrix that has none: nothing is turned."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a rotation by quarter turns, or none."""
        return self.has_angle and not self.is_mirrored and not self.odd_degrees

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of an upright frame, given those of the stored one."""
        return (height, width) if self.num_quarter_turns % 2 else (width, height)


def orientation(frame: VideoFrame) -> Orientation:
    """Return how a frame is to be turned and mirrored."""
    matrix = _display_matrix(frame)
    return Orientation() if matrix is None else of_matrix(matrix)


def of_matrix(matrix: Sequence[int]) -> Orientation:
    """Return what a display matrix asks for: nothing where it is degenerate.

    Args:
        matrix: 9 numbers, row by row; the unit of the first two columns does not matter.
    """
    a, b, _, c, d, *_ = matrix
    scales = math.hypot(a, c), math.hypot(b, d)
    if 0.0 in scales:
        return Orientation(has_angle=False)
    degrees = round(math.degrees(math.atan2(b / scales[1], a / scales[0]))) % 360
    if degrees == 1:
        return Orientation()  # FFmpeg rotates by more than one degree, and mirrors by less
    if degrees == 0:
        return Orientation(2, is_mirrored=True) if d < 0 else Orientation()
    if degrees == 90:
        return Orientation(3, is_mirrored=c > 0)
    if degrees == 180:
        return Orientation(2) if d < 0 else Orientation(0, is_mirrored=True)
    if degrees == 270:
        return Orientation(1, is_mirrored=c < 0)
    return Orientation(odd_degrees=degrees)


def upright_rgb(frame: VideoFrame, how: Orientation) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a frame's pixels (H, W, 3), turned and mirrored."""
    if how.odd_degrees:
        frame = _filtered(frame, [("rotate", f"{how.odd_degrees}*PI/180")])
    stored_HWC = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    pixels_HWC = np.rot90(stored_HWC, k=how.num_quarter_turns)
    return pixels_HWC[:, ::-1] if how.is_mirrored else pixels_HWC


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    data: Any  # a sequence of buffers, whatever PyAV's annotations say
    try:
        data = frame.side_data
    except ValueError:
        unnamed = [("sidedata", f"mode=delete:type={number}") for number in _UNNAMED_TYPES]
        data = _filtered(frame, unnamed).side_data
    for one in data:
        if one.type is Type.DISPLAYMATRIX and one.buffer_size == _MATRIX_BYTES:
            return tuple(memoryview(one).cast("i"))
    return None


def _filtered(frame: VideoFrame, filters: Sequence[tuple[str, str]]) -> VideoFrame:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1),  # it has to have one
    )
    nodes = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(source, *nodes, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()
