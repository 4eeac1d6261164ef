"""A video that ends early is an error, also where its container does not say how long it lasts."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from encodeonce.datasets.media.file_end import cut_off, fragments_s
from encodeonce.datasets.media.media import UndecodableMedia
from encodeonce.datasets.media.packet_index import build_index
from tests.fixtures.media_files import OPEN_GOP, write_video

BIG = {"crf": "1"}
X265 = {"x265-params": "log-level=none:open-gop=1:pools=1"}


def fragmented(flags: str) -> Callable[[Path], Path]:
    return lambda path: write_video(path, options=BIG, container_options={"movflags": flags})


def live(path: Path) -> Path:
    return write_video(path, options=BIG, container_options={"live": "1"})


WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "fragmented.mp4": fragmented("frag_keyframe+empty_moov"),
    "frame_by_frame.mp4": fragmented("frag_every_frame+empty_moov"),
    "dash.mp4": fragmented("dash+global_sidx"),
    "live.mkv": live,
    "live.webm": lambda path: write_video(
        path, codec="libvpx-vp9", options={"cpu-used": "8"}, container_options={"live": "1"}
    ),
    "measured.mkv": lambda path: write_video(path, options=BIG),
    "stream.ts": lambda path: write_video(path, options=BIG),
    "camera.m2ts": lambda path: write_video(path, options=BIG),
    "hevc.ts": lambda path: write_video(path, codec="libx265", options=X265),
    "stream.mpg": lambda path: write_video(path, codec="mpeg2video"),
    "stream.flv": lambda path: write_video(path, options=BIG),
    "stream.ogg": lambda path: write_video(path, codec="libvpx"),
    "stream.wmv": lambda path: write_video(path, codec="wmv2"),
    "raw.h264": lambda path: write_video(path, options={**BIG, "x264-params": "keyint=1"}),
    "animation.gif": lambda path: write_video(path, codec="gif", pixel_format="rgb8"),
    "stream.avi": lambda path: write_video(path, codec="mpeg4"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_cut_file_is_refused_and_never_a_short_clip(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name)
    assert len(build_index(str(path)).pts) == 60
    content = path.read_bytes()
    cut = tmp_path / f"cut_{name}"
    for percent in (35, 50, 61, 77, 88):
        # Not where a frame or a transport packet ends: there, nothing shows that more was to come.
        cut.write_bytes(content[: len(content) * percent // 100 // 188 * 188 + 7])
        with pytest.raises(UndecodableMedia, match=r"cut_.* (is truncated|cannot be decoded)"):
            build_index(str(cut))


@pytest.mark.parametrize("num_frames", [5, 15, 16, 31])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("open.ts", "libx264", OPEN_GOP),
        ("open.h264", "libx264", OPEN_GOP),
        ("interlaced.ts", "libx264", {"x264-params": "interlaced=1:bframes=2"}),
        ("refresh.ts", "libx264", {"x264-params": "intra-refresh=1:keyint=10"}),
        ("open_hevc.ts", "libx265", X265),
        ("open.hevc", "libx265", X265),
        ("ps.mpg", "mpeg2video", {}),
    ],
)
def test_whole_streams_are_taken_whatever_they_end_with(
    name: str, codec: str, options: Mapping[str, str], num_frames: int, tmp_path: Path
) -> None:
    path = write_video(tmp_path / name, codec=codec, options=options, num_frames=num_frames)
    assert len(build_index(str(path)).pts) == num_frames


def test_a_file_that_lost_only_its_search_index_is_whole(tmp_path: Path) -> None:
    for name, end in (("fragmented.mp4", b"mfra"), ("measured.mkv", b"\x1c\x53\xbb\x6b")):
        path = WRITERS[name](tmp_path / name)
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(end) + 6])
        assert len(build_index(str(path)).pts) == 60


def test_a_gif_whose_rest_is_zeros_is_cut_off(tmp_path: Path) -> None:
    """As downloads leave it that reserve the whole space before they begin."""
    path = WRITERS["animation.gif"](tmp_path / "a.gif")
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + bytes(len(content) - half))
    with pytest.raises(UndecodableMedia, match="no end marker"):
        build_index(str(path))


def test_bytes_appended_to_a_file_do_no_harm(tmp_path: Path) -> None:
    for name in ("fragmented.mp4", "live.mkv", "stream.flv", "animation.gif", "stream.avi"):
        path = WRITERS[name](tmp_path / name)
        for extra in (b"\0" * 5, b"\0" * 100, b"-- end --" * 9):
            other = tmp_path / f"longer_{name}"
            other.write_bytes(path.read_bytes() + extra)
            assert cut_off(str(other), _container(name)) is None, (name, extra)


def _container(name: str) -> str:
    suffix = name.rpartition(".")[2]
    return {"mp4": "mov", "mkv": "matroska"}.get(suffix, suffix)


def test_every_length_of_a_fragmented_file_is_whole_or_cut_off(tmp_path: Path) -> None:
    """No length raises anything; between fragments alone, a cut cannot be told."""
    path = WRITERS["fragmented.mp4"](tmp_path / "a.mp4")
    content = path.read_bytes()
    ends = [content.index(b"moov") - 4]
    while ends[-1] < len(content):
        (size,) = struct.unpack(">I", content[ends[-1] : ends[-1] + 4])
        ends.append(ends[-1] + size)
    # Up to the header of the index at the end, without which all pictures are there.
    for size in range(ends[0], ends[-2], 3):
        path.write_bytes(content[:size])
        is_between = any(
            end <= size < end + 8
            and content[end + 4 : end + 8] != b"mdat"
            and not any(content[end:size])
            for end in ends
        )
        assert (cut_off(str(path), "mov") is None) == is_between, size


@pytest.mark.parametrize("name", ["live.mkv", "measured.mkv", "stream.flv", "animation.gif"])
def test_no_length_raises_anything_else(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name)
    content = path.read_bytes()
    for size in range(0, len(content), max(1, len(content) // 400)):
        path.write_bytes(content[:size])
        cut_off(str(path), _container(name))


def test_pages_without_an_end_marker_are_cut_off(tmp_path: Path) -> None:
    path = WRITERS["stream.ogg"](tmp_path / "a.ogg")
    content = path.read_bytes()
    assert cut_off(str(path), "ogg") is None
    path.write_bytes(content[: content.rindex(b"OggS")])
    assert cut_off(str(path), "ogg") == "the streams, none of which has an end marker"


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def test_the_duration_of_fragments_is_read_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    header = box(b"mvhd", bytes(12) + struct.pack(">II", 600, 0) + bytes(80))
    long_header = box(b"mvhd", b"\1" + bytes(19) + struct.pack(">IQ", 600, 0) + bytes(80))
    for one in (header, long_header):
        extends = box(b"mvex", box(b"mehd", bytes(4) + struct.pack(">I", 1500)))
        path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", one + extends))
        assert fragments_s(str(path)) == 2.5
        path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", one))
        assert fragments_s(str(path)) == 0.0


def test_fragments_that_miss_whole_are_known_by_the_stated_duration(tmp_path: Path) -> None:
    path = fragmented("frag_keyframe+empty_moov+default_base_moof")(tmp_path / "a.mp4")
    content = path.read_bytes()
    (scale,) = struct.unpack(">I", content[content.index(b"mvhd") + 16 :][:4])
    stated = box(b"mehd", bytes(4) + struct.pack(">I", 2 * scale))
    for kind in (b"mvex", b"moov"):
        at = content.index(kind) - 4
        (size,) = struct.unpack(">I", content[at : at + 4])
        content = content[:at] + struct.pack(">I", size + len(stated)) + content[at + 4 :]
    at = content.index(b"mvex") + 4
    content = content[:at] + stated + content[at:]
    path.write_bytes(content)
    assert len(build_index(str(path)).pts) == 60
    second = content.index(b"moof", content.index(b"moof") + 4)
    path.write_bytes(content[: content.index(b"moof", second + 4) - 4])
    with pytest.raises(UndecodableMedia, match=r"is truncated: its header says 2\.00 s"):
        build_index(str(path))
