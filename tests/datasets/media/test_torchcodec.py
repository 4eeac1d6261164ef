"""Frames by torchcodec: those asked for, or a refusal. Mostly skipped without it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from encodeonce.datasets.media.backends import torchcodec
from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import Media, UndecodableMedia
from encodeonce.datasets.media.packet_index import build_index
from encodeonce.datasets.media.probe import UnsuitableBackend, probe
from encodeonce.datasets.media.sampling import uniform_inclusive
from tests.fixtures.media_files import VIDEOS, frame_number, write_video

GetVideo = Callable[[str], Media]
needs_torchcodec = pytest.mark.skipif(
    torchcodec.identity() is None, reason="needs torchcodec: type `make test-torchcodec`"
)


def test_torchcodec_by_name_is_refused_where_it_is_not_installed(
    video: GetVideo, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchcodec, "identity", lambda: None)
    with pytest.raises(UnsuitableBackend, match="torchcodec cannot be imported; it needs a build"):
        probe(video("closed_gop.mp4"), ledger=ledger, backend="torchcodec")


@needs_torchcodec
@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_those_asked_for_or_the_file_is_refused(
    name: str, video: GetVideo, ledger: Ledger
) -> None:
    media, first = video(name), VIDEOS[name][1]
    try:
        info = probe(media, ledger=ledger, backend="torchcodec")
    except UnsuitableBackend as error:
        index = build_index(media.uri)
        assert not index.keyframes or index.orientation or "torchcodec" in str(error)
        assert name not in ("closed_gop.mp4", "open_gop.mp4", "hevc.mp4", "variable_rate.mp4")
        return
    assert info.backend == "torchcodec" and info.decoder.startswith("torchcodec ")
    for num_frames in (1, 3, 16, info.num_frames):
        indices = uniform_inclusive(info.num_frames, num_frames)
        found = [frame_number(one) for one in decode(media, info, indices).pixels_THWC]
        assert found == [first + index for index in indices]


@needs_torchcodec
@pytest.mark.parametrize("name", ["closed_gop.mp4", "open_gop.mp4", "hevc.mp4"])
def test_pixels_are_pyavs_up_to_rounding(name: str, video: GetVideo, ledger: Ledger) -> None:
    media = video(name)
    by_name = {
        backend: decode(media, probe(media, ledger=ledger, backend=backend), (0, 7, 33))
        for backend in ("pyav", "torchcodec")
    }
    ours, others = (frames.pixels_THWC.astype(int) for frames in by_name.values())
    assert np.abs(ours - others).max() <= 3
    assert by_name["pyav"].timestamps_s == by_name["torchcodec"].timestamps_s


@needs_torchcodec
def test_a_frame_of_another_time_is_an_error_and_no_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", pts=[i + i // 3 for i in range(60)])
    even = build_index(str(write_video(tmp_path / "b.mp4")))
    index = build_index(str(path))
    assert torchcodec.read(str(path), index, (5,)).shape == (1, index.height, index.width, 3)
    with pytest.raises(UndecodableMedia, match="other frames than those asked for"):
        torchcodec.read(str(path), even, (50,))


@needs_torchcodec
def test_a_refusal_is_remembered(
    video: GetVideo, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = video("closed_gop.mp4")
    probe(media, ledger=ledger, backend="torchcodec")
    monkeypatch.setattr(torchcodec, "disagreement", lambda path, index: pytest.fail("asked twice"))
    assert probe(media, ledger=ledger, backend="torchcodec").backend == "torchcodec"
