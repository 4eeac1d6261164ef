"""Tell from a container's own structure whether a file goes on to its end, without decoding.

Many files do not say how long they last: fragmented MP4, live WebM, GIF, transport streams. But
they consist of parts that say how many bytes they have, so a cut is seen wherever it falls within a
part. Only parts that hold pictures count: a file that lost a bit of its search index is whole. What
is not of the container's structure, such as bytes appended to a file, ends the search.
"""

from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple


class _Source:
    """Bytes of a file, by position."""

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file = file
        self.size = size

    def read(self, at: int, count: int) -> bytes:
        """Return up to ``count`` bytes; fewer where the file ends."""
        self._file.seek(at)
        return self._file.read(count)

    def number(self, at: int, count: int, order: str = "big") -> int:
        """Return an unsigned number; what lies behind the file's end counts as zeros."""
        content = self.read(at, count).ljust(count, b"\0")
        return int.from_bytes(content, "little" if order == "little" else "big")


def cut_off(path: str, container: str) -> str | None:
    """Say what the file ends within, e.g. ``the box 'mdat', …``; None if nothing tells of a cut.

    Args:
        path: the file.
        container: FFmpeg's name for its format; of others, nothing is known.

    Raises:
        OSError: the file cannot be read.
    """
    look = _LOOKS.get(container)
    if look is None:
        return None
    with Path(path).open("rb") as file:
        return look(_Source(file, Path(path).stat().st_size))


def _within(what: str, end: int, source: _Source) -> str:
    return f"{what}, which should end at byte {end} of {source.size}"


class _Box(NamedTuple):
    """A box of an ISO base media file."""

    kind: bytes
    content: int
    """Where its content begins."""
    end: int


def _boxes(source: _Source, start: int, end: int) -> Iterator[_Box]:
    """Yield the boxes between two positions (ISO/IEC 14496-12, 4.2); the last may go beyond."""
    at = start
    while at + 8 <= min(end, source.size):
        size, kind, content = source.number(at, 4), source.read(at + 4, 4), at + 8
        if size == 1:
            size, content = source.number(at + 8, 8), at + 16
        size = size or source.size - at  # 0: up to the end of the file
        if size < 8 or not kind.isalnum():
            return
        yield _Box(kind, content, at + size)
        at += size


def _look_at_mp4(source: _Source) -> str | None:
    last = _Box(b"", 0, 0)
    for last in _boxes(source, 0, source.size):
        if last.kind in (b"mdat", b"moov", b"moof") and last.end > source.size:
            return _within(f"the box {last.kind.decode()!r}", last.end, source)
        if last.kind == b"sidx" and (end := _end_of_index(source, last)) > source.size:
            return _within("the fragments that a box 'sidx' lists", end, source)
    if source.size - 8 < last.end < source.size and any(source.read(last.end, 8)):
        return "the header of a box"
    return "a fragment, whose box 'moof' has no 'mdat'" if last.kind == b"moof" else None


def _end_of_index(source: _Source, box: _Box) -> int:
    """Return where the last fragment ends that a segment index lists (14496-12, 8.16.3)."""
    width = 8 if source.number(box.content, 1) else 4
    at = box.content + 12 + width
    first, count = source.number(at, width), source.number(at + width + 2, 2)
    sizes = (source.number(at + width + 4 + 12 * one, 4) & 0x7FFFFFFF for one in range(count))
    return box.end + first + sum(sizes)


def fragments_s(path: str) -> float:
    """Return how long an MP4 says that its fragments last together, seconds; 0.0 if it does not.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        source = _Source(file, Path(path).stat().st_size)
        found = {
            box.kind: box.content
            for movie in _boxes(source, 0, source.size)
            if movie.kind == b"moov"
            for part in _boxes(source, movie.content, movie.end)
            for box in (part, *_boxes(source, part.content, part.end))
            if box.kind in (b"mvhd", b"mehd")
        }
        if len(found) < 2:
            return 0.0
        header, extends = found[b"mvhd"], found[b"mehd"]
        scale = source.number(header + (20 if source.number(header, 1) else 12), 4)
        duration = source.number(extends + 4, 8 if source.number(extends, 1) else 4)
        return duration / scale if scale else 0.0


_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_AFTER_CLUSTERS = (0x1C53BB6B, 0x1254C367, 0x1941A469)  # cues, tags, attachments
_ELEMENTS = (
    *(0x1A45DFA3, _SEGMENT, _CLUSTER, *_AFTER_CLUSTERS),
    *(0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1043A770, 0xEC, 0xBF),  # the segment's others
    *(0xE7, 0xA7, 0xAB, 0xA3, 0xA0, 0x5854),  # in a cluster
)


def _look_at_matroska(source: _Source) -> str | None:
    """Go through the elements of an EBML file (RFC 8794, RFC 9559)."""
    at, segment_end, kind = 0, 0, 0
    while at < source.size:
        id_bytes = 9 - source.number(at, 1).bit_length()
        size_bytes = 9 - source.number(at + id_bytes, 1).bit_length()
        if at + id_bytes >= source.size or at + id_bytes + size_bytes > source.size:
            return "the header of an element" if id_bytes <= 4 else None
        kind = source.number(at, id_bytes)
        if kind not in _ELEMENTS or size_bytes > 8:
            return None
        unknown = (1 << 7 * size_bytes) - 1
        size = source.number(at + id_bytes, size_bytes) & unknown
        at += id_bytes + size_bytes
        if kind == _SEGMENT:
            segment_end = at + size if size != unknown else 0
        elif size != unknown:
            at += size
        elif kind != _CLUSTER:  # what follows on a live stream's cluster is inside
            return None
        if at > source.size and kind not in _AFTER_CLUSTERS:
            return _within("a cluster of frames" if kind == _CLUSTER else "an element", at, source)
    is_short = segment_end > source.size and kind not in _AFTER_CLUSTERS
    return _within("the segment", segment_end, source) if is_short else None


def _chunks(source: _Source, start: int, end: int) -> Iterator[_Box]:
    """Yield the chunks of a RIFF file, which are boxes of another byte order."""
    at = start
    while at + 8 <= min(end, source.size):
        size = source.number(at + 4, 4, "little")
        yield _Box(source.read(at, 4), at + 8, at + 8 + size)
        at += 8 + size + size % 2


def _look_at_avi(source: _Source) -> str | None:
    for riff in _chunks(source, 0, source.size):
        if riff.kind != b"RIFF":
            return None
        for part in _chunks(source, riff.content + 4, riff.end):
            is_pictures = part.kind == b"LIST" and source.read(part.content, 4) == b"movi"
            if is_pictures and part.end > source.size:
                return _within("the list of frames", part.end, source)
    return None


def _look_at_flv(source: _Source) -> str | None:
    at = source.number(5, 4) + 4
    while at < source.size:
        if source.number(at, 1) & 0x1F not in (8, 9, 18):  # sound, pictures, metadata
            return None
        at += 15 + source.number(at + 1, 3)  # with the tag's size, written once more behind it
        if at > source.size:
            return _within("a tag", at, source)
    return None


def _look_at_gif(source: _Source) -> str | None:
    at = 13 + _table_bytes(source.number(10, 1))
    while at < source.size:
        kind = source.number(at, 1)
        if kind == 0x3B:
            return None
        if kind == 0x2C:
            at += 11 + _table_bytes(source.number(at + 9, 1))
        elif kind == 0x21:
            at += 2
        else:  # zeros, where a download was stopped that had reserved its space
            break
        while size := source.number(at, 1):
            at += 1 + size
        at += 1
    return "the animation, which has no end marker"


def _table_bytes(flags: int) -> int:
    """Return the size of the colour table that a GIF's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _look_at_ogg(source: _Source) -> str | None:
    at, is_ended = 0, False
    while at < source.size:
        head = source.read(at, 27)
        if not b"OggS".startswith(head[:4]):
            return None
        if len(head) < 27:
            return "the header of a page"
        end = at + 27 + head[26] + sum(source.read(at + 27, head[26]))
        if end > source.size:
            return _within("a page", end, source)
        is_ended |= bool(head[5] & 4)
        at = end
    return None if is_ended else "the streams, none of which has an end marker"


_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")


def _look_at_asf(source: _Source) -> str | None:
    at = 0
    while at + 24 <= source.size:
        size = source.number(at + 16, 8, "little")
        if size < 24:
            return None
        if source.read(at, 16) == _ASF_DATA and at + size > source.size:
            return _within("the data object", at + size, source)
        at += size
    return None


def _look_at_transport_stream(source: _Source) -> str | None:
    for size, offset in ((188, 0), (192, 4), (204, 0)):
        starts = range(offset, min(source.size, 5 * size), size)
        if all(source.number(at, 1) == 0x47 for at in starts):
            return "a transport packet" if source.size % size else None
    return None


def _look_at_program_stream(source: _Source) -> str | None:
    at = 0
    while at + 4 <= source.size:
        prefix, kind = source.read(at, 3), source.number(at + 3, 1)
        if prefix != b"\0\0\1" or kind < 0xB9:
            return None
        if kind == 0xB9:  # the end code
            at += 4
        elif kind == 0xBA:
            is_mpeg2 = source.number(at + 4, 1) >> 6 == 1
            at += 14 + (source.number(at + 13, 1) & 7) if is_mpeg2 else 12
        else:
            at += 6 + source.number(at + 4, 2)
            if at > source.size:
                return _within("a packet", at, source)
    return None


_LOOKS: dict[str, Callable[[_Source], str | None]] = {
    "mov": _look_at_mp4,
    "matroska": _look_at_matroska,
    "avi": _look_at_avi,
    "flv": _look_at_flv,
    "gif": _look_at_gif,
    "ogg": _look_at_ogg,
    "asf": _look_at_asf,
    "mpegts": _look_at_transport_stream,
    "mpeg": _look_at_program_stream,
}
