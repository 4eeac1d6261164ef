"""Find orientation that a video stream itself carries, which may change from frame to frame."""

from collections.abc import Iterator

_DISPLAY_ORIENTATION = 47
"""Payload type of the message in both H.264 (D.2.27) and HEVC (D.3.17)."""

_EXIF = b"Exif\0\0"
_JPEG_HEAD_BYTES = 2**16


def carries_orientation(codec: str, packet: memoryview, extradata: bytes) -> bool:
    """Return whether a packet says how its frame is to be turned or mirrored.

    Args:
        codec: FFmpeg's name of the stream's codec; others than those handled cannot say it.
        packet: its bytes.
        extradata: the stream's, from the container's header; says how packets are divided.
    """
    if codec == "mjpeg":
        return _EXIF in packet[:_JPEG_HEAD_BYTES].tobytes()
    if codec == "h264":
        return any(
            unit[0] & 0x1F == 6 and _has_orientation(unit[1:])
            for unit in _units(packet, extradata, length_at=4)
        )
    if codec == "hevc":
        return any(
            unit[0] >> 1 & 0x3F == 39 and _has_orientation(unit[2:])
            for unit in _units(packet, extradata, length_at=21)
        )
    return False


def _units(packet: memoryview, extradata: bytes, length_at: int) -> Iterator[memoryview]:
    """Yield the NAL units of a packet: behind their lengths, or between start codes."""
    is_divided_by_codes = (
        extradata[:3] in (b"\0\0\1", b"\0\0\0") or packet[:4].tobytes() == b"\0\0\0\1"
    )
    if is_divided_by_codes or len(extradata) <= length_at:
        content = packet.tobytes()
        start = content.find(b"\0\0\1") + 3
        while start > 2:
            end = content.find(b"\0\0\1", start)
            if unit := packet[start : end if end >= 0 else None]:
                yield unit
            start = end + 3
        return
    num_length_bytes, start = (extradata[length_at] & 3) + 1, 0
    while start + num_length_bytes < len(packet):
        end = start + num_length_bytes
        length = int.from_bytes(packet[start:end], "big")
        if unit := packet[end : end + length]:
            yield unit
        start = end + length


def _has_orientation(messages: memoryview) -> bool:
    """Return whether one of the messages of an SEI unit, less its header, is about orientation."""
    content = messages.tobytes().replace(b"\0\0\3", b"\0\0")  # emulation prevention
    at = 0
    while at + 2 < len(content):  # the last byte is the end marker
        kind, at = _number(content, at)
        size, at = _number(content, at)
        if kind == _DISPLAY_ORIENTATION:
            return True
        at += size
    return False


def _number(content: bytes, at: int) -> tuple[int, int]:
    """Read a number written as bytes of 255 and a last one below; return where it ends, too."""
    total = 0
    while at < len(content):
        total, at = total + content[at], at + 1
        if content[at - 1] != 255:
            break
    return total, at
