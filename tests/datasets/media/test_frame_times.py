"""Times of frames from the header: those of the index, where the rate is constant."""

from collections.abc import Callable

import pytest

from encodeonce.datasets.media.frame_times import frame_times_s
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import Media, UndecodableMedia
from encodeonce.datasets.media.probe import probe
from encodeonce.datasets.media.sampling import (
    EveryInterval,
    FrameSampling,
    UniformInclusive,
    UniformInterior,
)
from tests.fixtures.media_files import write_audio


@pytest.mark.parametrize("name", ["closed_gop.mp4", "matroska.mkv", "one_frame.mp4", "hevc.mp4"])
@pytest.mark.parametrize(
    "frames",
    [UniformInclusive(num_frames=4), UniformInterior(num_frames=3), EveryInterval(fps=4.0)],
    ids=lambda frames: frames.policy,
)
def test_they_are_those_of_the_frames_that_are_decoded(
    name: str, frames: FrameSampling, video: Callable[[str], Media], ledger: Ledger
) -> None:
    media = video(name)
    info = probe(media, ledger=ledger)
    exact = [info.timestamps_s[index] for index in frames.indices(info, None)]
    assert frame_times_s(media.uri, frames) == pytest.approx(exact, abs=1e-3)


def test_a_file_without_video_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write_audio(tmp_path_factory.mktemp("audio") / "a.mp4")
    with pytest.raises(UndecodableMedia, match="no video stream"):
        frame_times_s(path, UniformInclusive(num_frames=2))
