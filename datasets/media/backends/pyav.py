"""Video with PyAV: the index every video gets, and exact frames by presentation time.

Rules that measurement taught: index from packets without those an edit list discards; seek only
to a keyframe that lies ahead; compare every frame's pts with the one wanted; a read that ends
early is an error.
"""

import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from encodeonce.datasets.media.info import VideoIndex
from encodeonce.datasets.media.media import EmptyMedia, UndecodableMedia

# Playlists and scripts would make FFmpeg open other files, or wait for ever for the next segment.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,h264,hevc,rm"

# Containers that give each packet a true presentation time (AVI has decoding order only), and
# codecs of which each packet gives one frame (VP8 has packets that give none).
_TIMED_CONTAINERS = ("mov", "matroska", "mpegts", "flv")
_ONE_FRAME_A_PACKET = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")

# decord 0.6 was measured to be exact on these, 8 bits a channel; its FFmpeg 4.1 has no AV1.
# In MPEG-TS its seek was measured to be 12 frames off, its timestamps right.
_DECORD_CONTAINERS = ("mov", "matroska")
_DECORD_CODECS = ("h264", "hevc", "vp9", "mpeg4", "mjpeg")

# Headers of these say how long the file is, and only a cut file gives them a damaged packet.
_MEASURED_CONTAINERS = ("mov", "matroska", "avi")

_COVER = av.stream.Disposition.attached_pic

# Enough to keep one process's decoding ahead of a tower; workers of one machine share its cores.
_NUM_THREADS = 4


def identity() -> str:
    """Return the decoder's name and versions."""
    return f"pyav {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


class _Packet(NamedTuple):
    """What a packet says of its frame."""

    pts: int | None
    is_keyframe: bool
    is_discard: bool
    is_corrupt: bool


class _Scan(NamedTuple):
    """What a file says without being decoded."""

    container: str
    codec: str
    time_base: Fraction
    rate: Fraction
    packets: tuple[_Packet, ...]
    """Of the video stream, in decoding order."""


class Header(NamedTuple):
    """What a container says of its video before any packet is read."""

    num_frames: int
    """As it says, or as follows from its duration."""
    rate: float
    """Frames a second, on average."""


def read_header(path: str) -> Header:
    """Return what the container says; unlike an index it costs no pass over the file.

    Raises:
        UndecodableMedia: no video.
        EmptyMedia: the container says neither how many frames it has nor how long it lasts.
    """
    with _open(path) as (container, stream):
        rate = float(stream.average_rate or Fraction(25))
        listed_s = (container.duration or 0) / av.time_base
        num_frames = stream.frames or round(listed_s * rate)
    if num_frames < 1:
        raise EmptyMedia(f"{path}: the header says neither how many frames it has nor how long")
    return Header(num_frames=num_frames, rate=rate)


def build_index(path: str) -> VideoIndex:
    """Index a video: one pass over its packets, and its first frame decoded.

    Where the packets do not tell which frames come out, all frames are decoded and counted.
    `VideoIndex.decord_refusal` says what packets show; decord itself is not asked here.

    Raises:
        UndecodableMedia: no video, truncated, or damaged.
        EmptyMedia: a video without frames.
    """
    scan = _scan(path)
    doubt = _doubt(scan)
    kept = [packet for packet in scan.packets if not packet.is_discard]
    pts = tuple(sorted(packet.pts for packet in kept if packet.pts is not None))
    keyframes = tuple(sorted(p.pts for p in kept if p.is_keyframe and p.pts is not None))
    time_base = scan.time_base
    with _open(path) as (container, stream):
        frames = container.decode(stream)
        first = next(frames, None)
        if first is None:
            raise EmptyMedia(f"{path}: none of {len(scan.packets)} packets gives a frame")
        if doubt is None and first.pts != pts[0]:
            doubt = "the first packet's frame does not come out"
        width, height = _upright_size(first)
        num_bits = max(component.bits for component in first.format.components)
        if doubt is not None:
            decoded = (first.pts, *(frame.pts for frame in frames))
            pts, time_base, keyframes = *_counted(decoded, time_base, scan.rate), ()
    return VideoIndex(
        codec=scan.codec,
        width=width,
        height=height,
        pts=pts,
        time_base=(time_base.numerator, time_base.denominator),
        keyframes=keyframes,
        decord_refusal=doubt or _decord_refusal(scan, num_bits),
    )


def read(
    path: str, index: VideoIndex, indices: Sequence[int]
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the frames at ``indices`` (strictly increasing), (T, H, W, 3) RGB, upright.

    Raises:
        UndecodableMedia: a frame does not come out, or has another size than the first.
    """
    pixels_THWC = np.empty((len(indices), index.height, index.width, 3), dtype=np.uint8)
    with _open(path) as (container, stream):
        if index.keyframes:
            frames = _frames_by_time(container, stream, index, indices)
        else:
            frames = _frames_by_count(container, stream, indices)
        num_read = 0
        for row, frame in enumerate(frames):
            if _upright_size(frame) != (index.width, index.height):
                raise UndecodableMedia(f"{path}: frame {indices[row]} has another size: {frame}")
            pixels_THWC[row] = _upright_rgb(frame)
            num_read += 1
    if num_read != len(indices):
        raise UndecodableMedia(
            f"{path}: frame {indices[num_read]} of {len(index.pts)} does not come out"
        )
    return pixels_THWC


def _frames_by_time(
    container: InputContainer, stream: VideoStream, index: VideoIndex, indices: Sequence[int]
) -> Iterator[VideoFrame]:
    """Yield the frames at ``indices``; ends early at the first that does not come out."""
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
def _open(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the file's main video stream; FFmpeg's errors become `UndecodableMedia`."""
    try:
        options = {"format_whitelist": CONTAINERS}
        with av.open(path, options=options, metadata_errors="replace") as container:
            stream = container.streams.best("video")
            # The cover picture of a piece of music is a video stream, too.
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


def _scan(path: str) -> _Scan:
    with _open(path) as (container, stream):
        name = container.format.name.split(",")[0]
        is_measured = name in _MEASURED_CONTAINERS
        packets, end_s = [], 0.0  # the end of all streams: sound may outlast the pictures
        for packet in _demux(path, container):
            if packet.pts is not None and packet.time_base is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index == stream.index:
                packets.append(
                    _Packet(packet.pts, packet.is_keyframe, packet.is_discard, packet.is_corrupt)
                )
        listed_s = (container.duration or 0) / av.time_base
        if not packets:
            raise EmptyMedia(f"{path} has a video stream without frames")
        is_short = end_s < listed_s - max(0.5, 0.05 * listed_s)
        if is_measured and (is_short or any(p.is_corrupt for p in packets)):
            raise UndecodableMedia(
                f"{path} is truncated: its header says {listed_s:.2f} s, its data end at "
                f"{end_s:.2f} s"
            )
        rate = stream.average_rate or Fraction(25)
        codec = stream.codec_context.codec.canonical_name
        return _Scan(name, codec, stream.time_base or 1 / rate, rate, tuple(packets))


def _demux(path: str, container: InputContainer) -> Iterator["Packet[Any]"]:
    """Yield the packets of all streams, without the empty ones that flush decoders."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except IndexError as error:  # PyAV looks the packet's stream up in the list it has
            raise UndecodableMedia(f"{path}: a stream appears midway; remux the file") from error
        if packet is None:
            return
        if packet.size:
            yield packet


def _doubt(scan: _Scan) -> str | None:
    """Say why the packets do not tell which frames come out; None if they do."""
    times = [packet.pts for packet in scan.packets]
    if scan.container not in _TIMED_CONTAINERS:
        return f"container {scan.container} gives no reliable presentation times"
    if scan.codec not in _ONE_FRAME_A_PACKET:
        return f"packets of codec {scan.codec} need not give one frame each"
    if None in times or len(set(times)) < len(times):
        return "packets without a time, or two of one time"
    if any(packet.is_corrupt for packet in scan.packets):
        return "damaged packets"
    if all(packet.is_discard for packet in scan.packets):
        return "every packet is discarded"
    return None


def _counted(
    pts: Sequence[int | None], time_base: Fraction, rate: Fraction
) -> tuple[tuple[int, ...], Fraction]:
    """Return times of decoded frames and their unit: the decoder's, or even steps if unusable."""
    known = tuple(value for value in pts if value is not None)
    if len(known) == len(pts) and all(a < b for a, b in pairwise(known)):
        return known, time_base
    return tuple(range(len(pts))), 1 / rate


def _decord_refusal(scan: _Scan, num_bits: int) -> str | None:
    if scan.container not in _DECORD_CONTAINERS:
        return f"container {scan.container}; known to be exact: {', '.join(_DECORD_CONTAINERS)}"
    if scan.codec not in _DECORD_CODECS:
        return f"codec {scan.codec}; known to be exact: {', '.join(_DECORD_CODECS)}"
    if num_bits != 8:
        return f"{num_bits} bits a channel"
    if any(packet.is_discard for packet in scan.packets):
        return "an edit list discards packets, which decord counts"
    keyframe_pts = None
    for packet in scan.packets:
        if packet.is_keyframe:
            keyframe_pts = packet.pts
        elif keyframe_pts is not None and packet.pts is not None and packet.pts < keyframe_pts:
            return "open GOP: pictures shown before their keyframe, which decord's seek counts"
    return None


def _num_quarter_turns(frame: VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def _upright_size(frame: VideoFrame) -> tuple[int, int]:
    size = (frame.width, frame.height)
    return size[::-1] if _num_quarter_turns(frame) % 2 else size


def _upright_rgb(frame: VideoFrame) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.rot90(frame.to_ndarray(format="rgb24"), k=_num_quarter_turns(frame))
