"""Video with PyAV: exact frames by presentation time.

Rules that measurements taught: seek only to a keyframe that lies ahead; compare every frame's pts
with the one wanted; treat a read that ends early as an error.
"""

import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from encodeonce.datasets.media.backends.orientation import orientation, upright_rgb
from encodeonce.datasets.media.info import VideoIndex
from encodeonce.datasets.media.media import EmptyMedia, UndecodableMedia

# Playlists and scripts would make FFmpeg open other files, or wait for ever for the next segment.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,h264,hevc,rm"

_COVER = av.stream.Disposition.attached_pic

# Enough to keep one process's decoding ahead of a tower; workers of one machine share its cores.
_NUM_THREADS = 4


def identity() -> str:
    """Return the backend's name and versions."""
    return f"pyav {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


class Header(NamedTuple):
    """What a container's header says about its video."""

    num_frames: int
    """As stated, or computed from the duration."""
    rate: float
    """Average frames per second."""


def read_header(path: str) -> Header:
    """Return what the header says; unlike an index, it costs no pass over the file.

    Raises:
        UndecodableMedia: there is no video in the file.
        EmptyMedia: the header says neither how many frames it has nor how long it lasts.
    """
    with open_video(path) as (container, stream):
        rate = float(stream.average_rate or Fraction(25))
        listed_s = (container.duration or 0) / av.time_base
        num_frames = stream.frames or round(listed_s * rate)
    if num_frames < 1:
        raise EmptyMedia(f"{path}: the header says neither how many frames it has nor how long")
    return Header(num_frames=num_frames, rate=rate)


def read(
    path: str, index: VideoIndex, indices: Sequence[int]
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the frames at ``indices`` (strictly increasing), (T, H, W, 3) RGB, upright.

    Raises:
        UndecodableMedia: a frame cannot be decoded, or has another size than the first.
    """
    pixels_THWC = np.empty((len(indices), index.height, index.width, 3), dtype=np.uint8)
    with open_video(path) as (container, stream):
        if index.keyframes:
            frames = _frames_by_time(container, stream, index, indices)
        else:
            frames = _frames_by_count(container, stream, indices)
        num_read = 0
        for row, frame in enumerate(frames):
            how = orientation(frame)
            if (size := how.size(frame.width, frame.height)) != (index.width, index.height):
                raise UndecodableMedia(
                    f"{path}: frame {indices[row]} has another size than the first, upright "
                    f"{size[0]} x {size[1]} pixels instead of {index.width} x {index.height}"
                )
            pixels_THWC[row] = upright_rgb(frame, how)
            num_read += 1
    if num_read != len(indices):
        raise UndecodableMedia(
            f"{path}: frame {indices[num_read]} of {len(index.pts)} does not come out"
        )
    return pixels_THWC


def last_frame_is_whole(path: str, keyframe_pts: int | None) -> bool:
    """Return whether the decoder takes a video's last packet without an error.

    Decoders conceal what is missing at the end of a stream, unless they are told not to. Errors
    before that are another matter: broadcasts have them.

    Args:
        path: the file.
        keyframe_pts: where to start; early enough for the last packet's references. None: at the
            beginning.

    Raises:
        UndecodableMedia: the file cannot be opened.
    """
    is_whole = True
    with open_video(path) as (container, stream):
        stream.codec_context.options = {"err_detect": "explode"}
        stream.thread_type = "NONE"  # so that errors are those of the packet at hand
        if keyframe_pts is not None:
            container.seek(keyframe_pts, stream=stream, backward=True, any_frame=False)
        for packet in container.demux(stream):
            try:
                packet.decode()
                is_whole = is_whole or packet.size > 0
            except av.error.InvalidDataError:
                is_whole = False
    return is_whole


def _frames_by_time(
    container: InputContainer, stream: VideoStream, index: VideoIndex, indices: Sequence[int]
) -> Iterator[VideoFrame]:
    """Yield the frames at ``indices``; ends early at the first that cannot be decoded."""
    frames, at = container.decode(stream), index.pts[0]
    for position in indices:
        wanted = index.pts[position]
        before = bisect.bisect_right(index.keyframes, wanted)
        if before and index.keyframes[before - 1] > at:
            frames = _decode_from(container, stream, wanted)
        frame = next((frame for frame in frames if _at_or_after(frame, wanted)), None)
        if frame is None or frame.pts != wanted:
            # The seek went past it, as demuxers may where a keyframe's index entry is wrong.
            frames = _decode_from(container, stream, index.pts[0])
            frame = next((frame for frame in frames if _at_or_after(frame, wanted)), None)
            if frame is None or frame.pts != wanted:
                return
        yield frame
        at = wanted


def _frames_by_count(
    container: InputContainer, stream: VideoStream, indices: Sequence[int]
) -> Iterator[VideoFrame]:
    wanted = iter(indices)
    target = next(wanted, None)
    for position, frame in enumerate(container.decode(stream)):
        if target is None:
            return
        if position == target:
            yield frame
            target = next(wanted, None)


def _decode_from(container: InputContainer, stream: VideoStream, pts: int) -> Iterator[VideoFrame]:
    container.seek(pts, stream=stream, backward=True, any_frame=False)
    return container.decode(stream)


def _at_or_after(frame: VideoFrame, pts: int) -> bool:
    return frame.pts is not None and frame.pts >= pts


@contextmanager
def open_video(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the file's main video stream; FFmpeg's errors become `UndecodableMedia`."""
    try:
        options = {"format_whitelist": CONTAINERS}
        with av.open(path, options=options, metadata_errors="replace") as container:
            stream = container.streams.best("video")
            # The cover picture of an audio file is a video stream, too.
            if not isinstance(stream, VideoStream) or stream.disposition & _COVER:
                raise UndecodableMedia(f"{path} has no video stream")
            if stream.codec_context is None:
                raise UndecodableMedia(f"{path}: this FFmpeg has no decoder for its video stream")
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = _NUM_THREADS
            yield container, stream
    except av.error.FFmpegError as error:
        raise UndecodableMedia(
            f"{path} cannot be decoded as a video: {error.strerror}; containers read: {CONTAINERS}"
        ) from error
