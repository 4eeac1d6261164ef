"""Frames come out as FFmpeg's autorotation shows them, however a file asks for it."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import ExifTags, Image

from encodeonce.datasets.media.backends import decord, pyav
from encodeonce.datasets.media.backends.orientation import Orientation, of_matrix
from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.in_stream_orientation import carries_orientation
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import UndecodableMedia
from encodeonce.datasets.media.packet_index import build_index
from encodeonce.datasets.media.probe import UnsuitableBackend, probe
from tests.fixtures.media_files import (
    HEIGHT,
    INSTALLED_BACKENDS,
    RATE,
    WIDTH,
    as_media,
    barcode,
    write_video,
)

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

ONE, LAST = 1 << 16, 1 << 30
TURNS = {
    "as it is": (1, 0, 0, 1),
    "clockwise": (0, 1, -1, 0),
    "half a turn": (-1, 0, 0, -1),
    "anticlockwise": (0, -1, 1, 0),
}
MIRRORS = {
    "left and right": (-1, 0, 0, 1),
    "top and bottom": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed about the other diagonal": (0, -1, -1, 0),
}


def write_with_matrix(path: Path, values: Sequence[float]) -> Path:
    a, b, c, d = (int(value * ONE) for value in values)
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, LAST], dtype=np.int32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.set_display_matrix(matrix.tolist())
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(barcode(number + 1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def stored(path: Path) -> list[Pixels]:
    """Return the frames as they are in the file."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def moved(pixels_HWC: Pixels, values: Sequence[int]) -> Pixels:
    """Return an image with each pixel where the matrix puts it: (x, y) = (p, q) @ matrix."""
    height, width, _ = pixels_HWC.shape
    q, p = np.mgrid[:height, :width]
    a, b, c, d = values
    x, y = a * p + c * q, b * p + d * q
    x, y = x - x.min(), y - y.min()
    found = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
    found[y, x] = pixels_HWC
    return found


@pytest.mark.parametrize("name", [*TURNS, *MIRRORS])
def test_pixels_are_where_the_matrix_puts_them(name: str, tmp_path: Path, ledger: Ledger) -> None:
    values = {**TURNS, **MIRRORS}[name]
    path = write_with_matrix(tmp_path / "a.mp4", values)
    expected = np.stack([moved(frame, values) for frame in stored(path)])
    for backend in INSTALLED_BACKENDS:
        if name in MIRRORS and backend in ("decord", "torchcodec"):
            with pytest.raises(UnsuitableBackend, match="orientation that decord|torchcodec does"):
                probe(as_media(path), ledger=ledger, backend=backend)
            continue
        info = probe(as_media(path), ledger=ledger, backend=backend)
        assert (info.height, info.width) == expected.shape[1:3]
        np.testing.assert_array_equal(decode(as_media(path), info, range(6)).pixels_THWC, expected)


@pytest.mark.parametrize("name", [*TURNS, *MIRRORS])
def test_matroska_says_it_in_another_way(name: str, tmp_path: Path, ledger: Ledger) -> None:
    values = {**TURNS, **MIRRORS}[name]
    path = write_with_matrix(tmp_path / "a.mkv", values)
    info = probe(as_media(path), ledger=ledger)
    # decord's FFmpeg does not know it, and would show half a turn upside down.
    assert info.backend == ("decord" if name == "as it is" else "pyav")
    expected = np.stack([moved(frame, values) for frame in stored(path)])
    np.testing.assert_array_equal(decode(as_media(path), info, range(6)).pixels_THWC, expected)


def test_only_what_earlier_versions_turned_wrongly_has_another_identity(
    tmp_path: Path, ledger: Ledger
) -> None:
    def decoder(values: Sequence[float]) -> str:
        path = write_with_matrix(tmp_path / "a.mp4", values)
        media = as_media(path.rename(tmp_path / f"{len(list(tmp_path.iterdir()))}.mp4"))
        return probe(media, ledger=ledger, backend="pyav").decoder

    assert {decoder(values) for values in TURNS.values()} == {pyav.identity()}
    for values in (*MIRRORS.values(), (0.8, 0.6, -0.6, 0.8), (0, 0, 0, 0)):
        assert decoder(values) == f"{pyav.identity()}, mirrored or turned as FFmpeg does"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 0, 0, 0), Orientation(has_angle=False)),
        ((0, 1, 0, 1), Orientation(has_angle=False)),  # a column of zeros
        ((1, 0, 1, 0), Orientation(has_angle=False)),
        ((0, 0, 1, 1), Orientation()),
        ((3, 0, 0, 7), Orientation()),  # a scale is none of orientation's business
        ((2, 0, 0, -5), Orientation(2, is_mirrored=True)),
        ((1, 0.4, 0, 1), Orientation(odd_degrees=20)),  # sheared: the second column is longer
        ((0.002, 1, -1, 0.001), Orientation(3)),
        ((1, 0.01745, -0.01745, 1), Orientation()),  # one degree: too little
        ((0.707, 0.707, -0.707, 0.707), Orientation(odd_degrees=45)),
        ((0.995, -0.0998, 0.0998, 0.995), Orientation(odd_degrees=354)),
        ((-0.5, 0.866, 0.866, 0.5), Orientation(odd_degrees=120)),  # no mirror at odd angles
    ],
)
def test_matrices_of_all_kinds(values: Sequence[float], expected: Orientation) -> None:
    a, b, c, d = (int(value * ONE) for value in values)
    assert of_matrix((a, b, 0, c, d, 0, 0, 0, LAST)) == expected


@pytest.mark.parametrize("values", [(0, 0, 0, 0), (1, 0, 1, 0)])
def test_a_degenerate_matrix_turns_nothing(
    values: Sequence[float], tmp_path: Path, ledger: Ledger
) -> None:
    path = write_with_matrix(tmp_path / "a.mp4", values)
    info = probe(as_media(path), ledger=ledger)
    pixels_THWC = decode(as_media(path), info, range(6)).pixels_THWC
    np.testing.assert_array_equal(pixels_THWC, np.stack(stored(path)))


def test_an_odd_angle_turns_within_the_frame(tmp_path: Path, ledger: Ledger) -> None:
    path = write_with_matrix(tmp_path / "a.mp4", (0.866, 0.5, -0.5, 0.866))
    info = probe(as_media(path), ledger=ledger)
    assert (info.backend, info.width, info.height) == ("pyav", WIDTH, HEIGHT)
    (pixels_HWC,) = decode(as_media(path), info, (5,)).pixels_THWC
    # Pillow turns anticlockwise.
    expected = Image.fromarray(stored(path)[5]).rotate(-30, Image.Resampling.BILINEAR)
    assert np.abs(pixels_HWC.astype(int) - np.asarray(expected)).mean() < 6
    assert not pixels_HWC[0, 0].any() and not pixels_HWC[-1, -1].any()


def write_with_exif(path: Path, orientations: Sequence[int]) -> Path:
    """Write Motion JPEG whose pictures say for themselves how they are to be turned."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number, value in enumerate(orientations):
            exif, buffer = Image.Exif(), io.BytesIO()
            exif[ExifTags.Base.Orientation] = value
            Image.fromarray(barcode(number + 1)).save(buffer, "JPEG", exif=exif, quality=95)
            packet = av.Packet(buffer.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, RATE), stream, True
            container.mux(packet)
    return path


def write_with_messages(path: Path, arguments: str) -> Path:
    """Write H.264 whose keyframes come with a message about orientation."""
    source = write_video(path.with_name(f"source{path.suffix}"), num_frames=20, max_b_frames=0)
    with av.open(str(source)) as read, av.open(str(path), "w") as write:
        stream = read.streams.video[0]
        copy = write.add_stream_from_template(stream)
        options = f"h264_metadata=display_orientation=insert:{arguments}"
        messages = av.BitStreamFilterContext(options, stream)
        for packet in read.demux(stream):
            for changed in messages.filter(packet) if packet.size else ():
                changed.stream = copy
                write.mux(changed)
    return path


@pytest.mark.parametrize("suffix", ["mov", "mkv", "avi"])
def test_motion_jpeg_is_turned_picture_by_picture(
    suffix: str, tmp_path: Path, ledger: Ledger
) -> None:
    media = as_media(write_with_exif(tmp_path / f"a.{suffix}", [1, 2, 3, 4]))
    info = probe(media, ledger=ledger)
    assert (info.backend, info.decoder) == ("pyav", f"{pyav.identity()}, upright frame by frame")
    one, two, three, four = decode(media, info, range(4)).pixels_THWC.astype(int)
    plain = stored(Path(media.uri))
    for found, expected in (
        (one, plain[0]),
        (two, plain[1][:, ::-1]),
        (three, plain[2][::-1, ::-1]),
        (four, plain[3][::-1]),
    ):
        np.testing.assert_array_equal(found, expected)
    reason = "container avi" if suffix == "avi" else "an orientation that decord"
    with pytest.raises(UnsuitableBackend, match=reason):
        probe(media, ledger=ledger, backend="decord")


def test_frames_that_turn_on_their_side_midway_are_named(tmp_path: Path, ledger: Ledger) -> None:
    media = as_media(write_with_exif(tmp_path / "a.mkv", [1, 1, 6]))
    info = probe(media, ledger=ledger)
    with pytest.raises(UndecodableMedia, match=rf"frame 2 .* {HEIGHT} x {WIDTH} pixels instead"):
        decode(media, info, (0, 2))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_messages_in_the_stream_turn_the_frames_that_carry_them(
    suffix: str, tmp_path: Path, ledger: Ledger
) -> None:
    path = write_with_messages(tmp_path / f"a.{suffix}", "flip=horizontal")
    info = probe(as_media(path), ledger=ledger)
    assert info.decoder == f"{pyav.identity()}, upright frame by frame"
    first, second = decode(as_media(path), info, (0, 1)).pixels_THWC
    plain = stored(path)
    np.testing.assert_array_equal(first, plain[0][:, ::-1])
    np.testing.assert_array_equal(second, plain[1])


def unit_with(payload: bytes, header: bytes) -> bytes:
    return len(header + payload).to_bytes(4, "big") + header + payload


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"\x2f\x03\x40\x00\x00\x80", True),
        (b"\x05\x02ab\x2f\x03\x40\x00\x00\x80", True),  # behind another message
        (b"\x05\xff\x01" + b"a" * 256 + b"\x2f\x03\x40\x00\x00\x80", True),
        (b"\x05\x04\x00\x00\x03\x01\x00\x2f\x03\x40\x00\x00\x80", True),  # an escaped byte
        (b"\x05\x04\x2f\x03\x2f\x03\x80", False),  # the number is another message's content
        (b"\x05\xff", False),
        (b"\x80", False),
        (b"", False),
    ],
)
def test_messages_are_told_from_their_content(payload: bytes, expected: bool) -> None:
    for codec, header, extradata in (
        ("h264", b"\x06", b"\x01d\0\x0a\xff\xe1"),
        ("hevc", b"\x4e\x01", b"\x01" + bytes(20) + b"\x03"),
    ):
        slice_ = unit_with(b"\x2f\x03\x40\x00\x00\x80", b"\x65\x88")
        packet = slice_ + unit_with(payload, header)
        assert carries_orientation(codec, memoryview(packet), extradata) == expected
        by_codes = b"\0\0\0\1" + packet[4:14].replace(b"\0", b"1") + b"\0\0\1" + header + payload
        assert carries_orientation(codec, memoryview(by_codes), b"") == expected
    assert not carries_orientation("vp9", memoryview(b"\x06" + payload), b"")


def test_a_tag_that_only_decord_obeys_keeps_it_away(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    source = write_video(tmp_path / "source.mkv", num_frames=5)
    with av.open(str(source)) as read, av.open(str(path), "w") as write:
        stream = read.streams.video[0]
        copy = write.add_stream_from_template(stream)
        copy.metadata["rotate"] = "180"
        for packet in read.demux(stream):
            if packet.size:
                packet.stream = copy
                write.mux(packet)
    assert build_index(str(path)).decord_refusal == "a tag 'rotate', which decord obeys"


def test_decord_is_compared_by_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=5, first_number=1)
    index = build_index(str(path))
    assert decord.disagreement(str(path), index) is None
    read = pyav.read
    monkeypatch.setattr(pyav, "read", lambda *arguments: read(*arguments)[:, :, ::-1])
    assert "decord's first frame is not PyAV's" in str(decord.disagreement(str(path), index))
