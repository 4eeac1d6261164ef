"""Index a video: find out which frames it gives, from its packets where those can tell.

Packets that an edit list discards are left out. Where packets cannot tell, all frames are decoded
and counted.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet

from encodeonce.datasets.media.backends import pyav
from encodeonce.datasets.media.backends.orientation import Orientation, orientation
from encodeonce.datasets.media.backends.pyav import open_video
from encodeonce.datasets.media.file_end import cut_off, fragments_s
from encodeonce.datasets.media.in_stream_orientation import carries_orientation
from encodeonce.datasets.media.info import VideoIndex
from encodeonce.datasets.media.media import EmptyMedia, UndecodableMedia

# Containers that give each packet a true presentation time (AVI has decoding order only), and
# codecs whose packets give one frame each (VP8 has packets that give none).
_TIMED_CONTAINERS = ("mov", "matroska", "mpegts", "flv")
_ONE_FRAME_A_PACKET = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")

# decord 0.6 was measured to be exact on these, 8 bits a channel; its FFmpeg 4.1 has no AV1.
# In MPEG-TS its seek was measured to be 12 frames off, its timestamps right.
_DECORD_CONTAINERS = ("mov", "matroska")
_DECORD_CODECS = ("h264", "hevc", "vp9", "mpeg4", "mjpeg")

# Headers of these say how long the file is, and only truncated files have damaged packets.
_MEASURED_CONTAINERS = ("mov", "matroska", "avi", "flv")

# Only the last frame tells whether these were cut.
_ENDLESS_CONTAINERS = ("h264", "hevc", "mpegts", "mpeg")


class _Packet(NamedTuple):
    """What a packet says about its frame."""

    pts: int | None
    is_keyframe: bool
    is_discard: bool
    is_corrupt: bool
    is_oriented: bool


class _Scan(NamedTuple):
    """What a file tells without being decoded."""

    container: str
    codec: str
    time_base: Fraction
    rate: Fraction
    packets: tuple[_Packet, ...]
    """Of the video stream, in decoding order."""
    has_rotate_tag: bool


def build_index(path: str) -> VideoIndex:
    """Index a video: one pass over its packets, and its first frame decoded.

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
    with open_video(path) as (container, stream):
        frames = container.decode(stream)
        first = next(frames, None)
        if first is None:
            raise EmptyMedia(f"{path}: none of {len(scan.packets)} packets gives a frame")
        if doubt is None and first.pts != pts[0]:
            doubt = "the first packet's frame does not come out"
        how = orientation(first)
        width, height = how.size(first.width, first.height)
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
        orientation=_orientation(scan, how),
        decord_refusal=doubt or _decord_refusal(scan, how, num_bits),
    )


def _scan(path: str) -> _Scan:
    with open_video(path) as (container, stream):
        name = container.format.name.split(",")[0]
        codec = stream.codec_context.codec.canonical_name
        extradata = bytes(stream.codec_context.extradata or b"")
        is_measured = name in _MEASURED_CONTAINERS
        packets, end_s = [], 0.0  # the end of all streams: sound may outlast the pictures
        for packet in _demux(path, container):
            if packet.pts is not None and packet.time_base is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index == stream.index:
                is_oriented = carries_orientation(codec, memoryview(packet), extradata)
                flags = (packet.is_keyframe, packet.is_discard, packet.is_corrupt, is_oriented)
                packets.append(_Packet(packet.pts, *flags))
        listed_s = max((container.duration or 0) / av.time_base, _fragments_s(path, name))
        is_short = end_s < listed_s - max(0.5, 0.05 * listed_s)
        if is_measured and (is_short or any(p.is_corrupt for p in packets)):
            raise UndecodableMedia(
                f"{path} is truncated: its header says {listed_s:.2f} s, its data end at "
                f"{end_s:.2f} s"
            )
        _require_end(path, name, packets)
        if not packets:
            raise EmptyMedia(f"{path} has a video stream without frames")
        rate = stream.average_rate or Fraction(25)
        time_base = stream.time_base or 1 / rate
        has_rotate_tag = any(name.lower() == "rotate" for name in stream.metadata)
        return _Scan(name, codec, time_base, rate, tuple(packets), has_rotate_tag)


def _require_end(path: str, container: str, packets: Sequence[_Packet]) -> None:
    """Refuse a file that ends early, as far as it can be known without a stated duration."""
    try:
        cut = cut_off(path, container)
    except OSError as error:
        raise UndecodableMedia(f"{path} cannot be read: {error}") from error
    if cut is None and packets and packets[-1].is_corrupt:
        cut = "a packet"
    if cut is None and packets and container in _ENDLESS_CONTAINERS:
        keyframes = [p.pts for p in packets if p.is_keyframe and p.pts is not None]
        # From the beginning only in case of doubt: a seek may leave references out.
        if not any(pyav.last_frame_is_whole(path, start) for start in (*keyframes[-2:-1], None)):
            cut = "a frame"
    if cut is not None:
        raise UndecodableMedia(f"{path} is truncated: it ends within {cut}; download it again")


def _fragments_s(path: str, container: str) -> float:
    return fragments_s(path) if container == "mov" else 0.0


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
    """Say why the packets cannot tell which frames come out; None if they can."""
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
    """Return times of decoded frames and their unit; evenly spaced where theirs are unusable."""
    known = tuple(value for value in pts if value is not None)
    if len(known) == len(pts) and all(a < b for a, b in pairwise(known)):
        return known, time_base
    return tuple(range(len(pts))), 1 / rate


def _orientation(scan: _Scan, first: Orientation) -> str:
    if any(packet.is_oriented for packet in scan.packets):
        return "upright frame by frame"
    return "" if first.is_plain else "mirrored or turned as FFmpeg does"


def _decord_refusal(scan: _Scan, first: Orientation, num_bits: int) -> str | None:
    if scan.container not in _DECORD_CONTAINERS:
        return f"container {scan.container}; known to be exact: {', '.join(_DECORD_CONTAINERS)}"
    if scan.codec not in _DECORD_CODECS:
        return f"codec {scan.codec}; known to be exact: {', '.join(_DECORD_CODECS)}"
    if scan.has_rotate_tag:  # not what FFmpeg's present versions heed
        return "a tag 'rotate', which decord obeys"
    if _orientation(scan, first) or (first != Orientation() and scan.container != "mov"):
        return "an orientation that decord does not know"
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
