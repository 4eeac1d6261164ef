"""Every frame asked for is the frame returned, whatever the codec and the container."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from encodeonce.datasets.media.backends import decord, pyav
from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.info import MediaInfo, VideoIndex
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import EmptyMedia, Media, MediaError, UndecodableMedia
from encodeonce.datasets.media.packet_index import build_index
from encodeonce.datasets.media.probe import UnsuitableBackend, probe
from encodeonce.datasets.media.sampling import uniform_inclusive
from tests.fixtures.media_files import (
    HEIGHT,
    INSTALLED_BACKENDS,
    RATE,
    VIDEOS,
    WIDTH,
    as_media,
    frame_number,
    remux,
    write_audio,
    write_music_with_cover,
    write_video,
)

GetVideo = Callable[[str], Media]


def numbers(media: Media, info: MediaInfo, indices: tuple[int, ...]) -> list[int]:
    return [frame_number(pixels) for pixels in decode(media, info, indices).pixels_THWC]


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_asked_for_are_frames_returned(name: str, video: GetVideo, ledger: Ledger) -> None:
    backend, first, _ = VIDEOS[name]
    media = video(name)
    info = probe(media, ledger=ledger)
    assert info.backend == backend, info.index
    for num_frames in (1, 3, 8, 16, info.num_frames):
        indices = uniform_inclusive(info.num_frames, num_frames)
        assert numbers(media, info, indices) == [first + index for index in indices]
    last = (info.num_frames - 1,)
    assert numbers(media, info, last) == [first + last[0]]


@pytest.mark.parametrize("name", [name for name, video in VIDEOS.items() if video[0] == "decord"])
def test_both_backends_return_the_same_pixels(name: str, video: GetVideo, ledger: Ledger) -> None:
    media = video(name)
    by_decord, by_pyav = (probe(media, ledger=ledger, backend=b) for b in ("decord", "pyav"))
    indices = uniform_inclusive(by_pyav.num_frames, 7)
    frames, others = decode(media, by_decord, indices), decode(media, by_pyav, indices)
    np.testing.assert_array_equal(frames.pixels_THWC, others.pixels_THWC)
    assert frames.timestamps_s == others.timestamps_s
    assert by_decord.decoder != by_pyav.decoder


@pytest.mark.parametrize("name", ["open_gop.mp4", "transport_stream.ts"])
def test_decord_really_is_wrong_where_auto_avoids_it(name: str, video: GetVideo) -> None:
    media = video(name)
    index = build_index(media.uri)
    indices = uniform_inclusive(len(index.pts), 16)
    pixels = decord.read(media.uri, index, indices)
    assert [frame_number(frame) for frame in pixels] != list(indices)


@pytest.mark.parametrize("name", [name for name, video in VIDEOS.items() if video[0] == "pyav"])
def test_decord_by_name_is_refused_where_it_would_be_wrong(
    name: str, video: GetVideo, ledger: Ledger
) -> None:
    with pytest.raises(UnsuitableBackend, match="use the video backend 'auto' or 'pyav'"):
        probe(video(name), ledger=ledger, backend="decord")


def test_without_decord_auto_reads_with_pyav(
    video: GetVideo, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decord, "identity", lambda: None)
    info = probe(video("closed_gop.mp4"), ledger=ledger)
    assert (info.backend, info.decoder) == ("pyav", pyav.identity())


def test_the_decoder_names_the_ffmpeg_that_each_library_bundles() -> None:
    assert decord.identity() is not None
    versions = {str(decord.identity()).split("FFmpeg ")[1], pyav.identity().split("FFmpeg ")[1]}
    assert len(versions) == 2
    assert all(version[0].isdigit() for version in versions)


@pytest.mark.parametrize(("rotation", "corner"), [(90, "left"), (-90, "right")])
def test_a_rotated_video_comes_out_upright(
    rotation: int, corner: str, tmp_path: Path, ledger: Ledger
) -> None:
    media = as_media(write_video(tmp_path / "turned.mp4", rotation=rotation, num_frames=8))
    for backend in INSTALLED_BACKENDS:
        info = probe(media, ledger=ledger, backend=backend)
        assert (info.width, info.height) == (HEIGHT, WIDTH)
        pixels = decode(media, info, (0, 5)).pixels_THWC
        assert pixels.shape == (2, WIDTH, HEIGHT, 3)
        # The stripe at the top of the stored picture; a rotation of 90 degrees is anticlockwise.
        stripe = pixels[:, :, :8] if corner == "left" else pixels[:, :, -8:]
        assert abs(stripe.mean(axis=(0, 1, 2)) - (90, 10, 10)).max() < 20


def test_timestamps_are_seconds_after_the_first_frame(tmp_path: Path, ledger: Ledger) -> None:
    pts = [30, 31, 40, 41, 90]
    media = as_media(write_video(tmp_path / "late.mkv", pts=pts, num_frames=5))
    info = probe(media, ledger=ledger)
    expected = [(value - 30) / RATE for value in pts]
    assert info.timestamps_s == pytest.approx(expected, abs=1e-3)
    assert info.fps == pytest.approx(4 / 2.0, abs=1e-2)
    assert decode(media, info, (1, 4)).timestamps_s == (info.timestamps_s[1], info.timestamps_s[4])


@pytest.mark.parametrize("name", ["closed_gop.mp4", "open_gop.mp4", "without_times.avi"])
def test_threads_read_one_video_side_by_side(name: str, video: GetVideo, ledger: Ledger) -> None:
    media = video(name)
    info = probe(media, ledger=ledger)
    requests = [tuple(range(start, info.num_frames, 13)) for start in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda indices: numbers(media, info, indices), requests))
    assert results == [list(request) for request in requests]


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def write_truncated(path: Path, container_options: dict[str, str] | None = None) -> Path:
    write_video(path, container_options=container_options or {}, options={"crf": "1"})
    return write_bytes(path, path.read_bytes()[: int(path.stat().st_size * 0.6)])


def write_without_frames(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.start_encoding()
    return path


def write_of_unknown_codec(path: Path) -> Path:
    content = write_video(path).read_bytes()
    return write_bytes(path, content.replace(b"avc1", b"zzzz"))


UNUSABLE: dict[str, Callable[[Path], Path]] = {
    "text.mp4": lambda path: write_bytes(path, b"not a video\n" * 100),
    "empty.mp4": lambda path: write_bytes(path, b""),
    "noise.mp4": lambda path: write_bytes(path, np.random.default_rng(0).bytes(5000)),
    "playlist.mp4": lambda path: write_bytes(
        path, b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/hostname\n"
    ),
    "truncated.mp4": write_truncated,
    "truncated_faststart.mp4": lambda path: write_truncated(path, {"movflags": "faststart"}),
    "truncated.mkv": write_truncated,
    "truncated.avi": write_truncated,
    "music_with_a_cover.mp4": write_music_with_cover,
    "sound_only.mp4": write_audio,
    "no_frames.avi": write_without_frames,
    "no_frames.mp4": write_without_frames,
    "unknown_codec.mp4": write_of_unknown_codec,
    "absent.mp4": lambda path: path,
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_video_gives_a_typed_error_that_names_it(
    name: str, tmp_path: Path, ledger: Ledger
) -> None:
    media = as_media(UNUSABLE[name](tmp_path / name))
    expected = EmptyMedia if name == "no_frames.avi" else UndecodableMedia
    with pytest.raises(expected, match=name):
        probe(media, ledger=ledger)


def test_a_video_damaged_after_its_probe_gives_no_frames(tmp_path: Path, ledger: Ledger) -> None:
    path = write_video(tmp_path / "cut.mp4", container_options={"movflags": "faststart"})
    for backend in INSTALLED_BACKENDS:
        info = probe(as_media(path), ledger=ledger, backend=backend)
        cut = as_media(write_bytes(tmp_path / backend, path.read_bytes()[:-1000]))
        with pytest.raises(UndecodableMedia):
            decode(cut, info, (0, info.num_frames - 1))


def test_another_number_of_frames_than_asked_for_is_never_returned(
    video: GetVideo, ledger: Ledger, tmp_path: Path
) -> None:
    long = probe(video("transport_stream.ts"), ledger=ledger)
    short = as_media(write_video(tmp_path / "short.ts", num_frames=20))
    with pytest.raises(UndecodableMedia, match="frame 40 of 60 does not come out"):
        decode(short, long, (3, 40))


@pytest.mark.parametrize("indices", [(), (3, 3), (4, 2), (-1,), (0, 60)])
def test_indices_must_increase_within_the_video(
    indices: tuple[int, ...], video: GetVideo, ledger: Ledger
) -> None:
    media = video("closed_gop.mp4")
    with pytest.raises(ValueError, match="must increase strictly") as caught:
        decode(media, probe(media, ledger=ledger), indices)
    assert not isinstance(caught.value, MediaError)


def test_a_frame_of_another_size_is_refused(tmp_path: Path, ledger: Ledger) -> None:
    path = write_video(tmp_path / "a.mkv", num_frames=5)
    info = probe(as_media(path), ledger=ledger, backend="pyav")
    other = MediaInfo(**{**fields(info), "index": VideoIndex(**{**fields(info.index), "width": 2})})
    with pytest.raises(UndecodableMedia, match="another size"):
        decode(as_media(path), other, (0,))


def fields(value: MediaInfo | VideoIndex | None) -> dict[str, object]:
    assert value is not None
    return {name: getattr(value, name) for name in value.__slots__}


def test_a_probe_is_remembered_by_content_and_not_by_name(
    video: GetVideo, tmp_path: Path, ledger: Ledger
) -> None:
    for name in ("closed_gop.mp4", "variable_rate.mp4", "without_times.avi", "edit_list.mp4"):
        media = video(name)
        moved = Media(kind="video", uri=str(tmp_path / "gone.mp4"), sha256=media.sha256)
        assert probe(media, ledger=ledger) == probe(moved, ledger=ledger)


def test_edit_lists_are_honoured_after_a_copy_of_a_copy(tmp_path: Path, ledger: Ledger) -> None:
    source = write_video(tmp_path / "source.mp4")
    copy = remux(source, tmp_path / "copy.mp4", start_s=0.7)
    media = as_media(copy)
    info = probe(media, ledger=ledger)
    assert numbers(media, info, (0, 10)) == [21, 31]
