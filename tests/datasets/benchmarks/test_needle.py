"""Needles are where they are said to be, and their clips are made once."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.probe import probe
from encodeonce.datasets.media.sampling import EveryInterval, FrameSampling, UniformInclusive
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Gridded, Sample
from tests.fixtures.clips import write_clip

SMALL: dict[str, Any] = {"lengths": [6], "depths": [0, 0.4, 1], "repeats": 1, "label_height": 0.3}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Eight seconds of 48 x 40 pixels."""
    return write_clip(tmp_path / "film" / "a.mp4", num_frames=64)


@pytest.fixture
def options(tmp_path: Path, source: Path) -> dict[str, Any]:
    return {**SMALL, "folder": tmp_path / "clips", "videos": [source]}


def needle(options: dict[str, Any], frames: FrameSampling | None = None, **more: Any) -> Benchmark:
    return load_benchmark("needle", {**options, **more}, frames)


def frames_of(benchmark: Benchmark, sample: Sample) -> np.ndarray[Any, np.dtype[np.uint8]]:
    (ref,) = sample.media
    media = MediaLibrary(benchmark.media_root, Ledger(None)).resolve(ref)
    info = probe(media, ledger=Ledger(None))
    return decode(media, info, range(info.num_frames)).pixels_THWC


def files(options: dict[str, Any]) -> dict[str, int]:
    """Return the clips that are there, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in options["folder"].glob("*.mp4")}


def test_the_label_is_in_the_frame_of_its_depth_alone(options: dict[str, Any]) -> None:
    # Clips of one length and repeat have the same haystack, so they differ in labels alone.
    benchmark = needle(options)
    samples = list(benchmark.samples())
    first, middle, last = (frames_of(benchmark, sample).astype(int) for sample in samples)
    assert first.shape == (6, 40, 48, 3)
    changed = np.abs(first - last).max(axis=(1, 2, 3)) > 100
    assert changed.tolist() == [True, False, False, False, False, True]
    changed = np.abs(middle - last).max(axis=(1, 2, 3)) > 100
    assert changed.tolist() == [False, False, True, False, False, True]
    assert [sample.tags for sample in samples] == [
        {"depth": "0 %", "frames": "6"},
        {"depth": "40 %", "frames": "6"},
        {"depth": "100 %", "frames": "6"},
    ]


def test_clips_are_made_once_and_more_of_them_leave_the_others_alone(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    before = list(needle(options).samples())
    assert [record.getMessage() for record in caplog.records] == [
        f"clips are made in {options['folder']}, where later runs will find them"
    ]
    made = files(options)
    assert len(made) == 3
    assert list(needle(options).samples()) == before
    more = list(needle(options, lengths=[6, 7], depths=[0, 0.4, 0.8, 1], repeats=2).samples())
    after = files(options)
    assert {name: after[name] for name in made} == made
    assert len(after) == 16
    assert {sample.id: sample for sample in more}.items() >= {s.id: s for s in before}.items()


def test_both_forms_ask_about_the_same_clips(options: dict[str, Any]) -> None:
    free = list(needle(options).samples())
    made = files(options)
    choice = list(needle(options, form="choice").samples())
    assert files(options) == made
    for one, other in zip(free, choice, strict=True):
        assert (one.media, one.question) == (other.media, other.question)
        assert other.choices["ABCD".index(other.target)] == one.target


@pytest.mark.parametrize("kind", ["text", "number", "digit"])
def test_the_same_seed_asks_the_same_questions_in_another_folder(
    options: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    one = needle(options, kind=kind)
    other = needle(options, kind=kind, folder=tmp_path / "elsewhere")
    samples = list(one.samples())
    assert list(other.samples()) == samples
    name = samples[0].media[0].path
    assert (one.media_root / name).read_bytes() == (other.media_root / name).read_bytes()
    changed = list(needle(options, kind=kind, seed=1).samples())
    assert not {s.media for s in changed} & {s.media for s in samples}


def test_other_sources_give_other_clips(options: dict[str, Any], tmp_path: Path) -> None:
    before = {sample.media for sample in needle(options).samples()}
    other = write_clip(tmp_path / "b.mp4", num_frames=64, seed=1)
    assert not before & {sample.media for sample in needle(options, videos=[other]).samples()}


def test_several_needles_have_colours_of_their_own_and_are_each_others_options(
    options: dict[str, Any],
) -> None:
    samples = list(needle(options, needles=3, form="choice", repeats=4).samples())
    assert len(samples) == 12
    assert len({sample.media for sample in samples}) == 4
    for first in range(0, 12, 3):
        asked = samples[first : first + 3]
        assert len({sample.question for sample in asked}) == 3
        right = {sample.choices["ABCD".index(sample.target)] for sample in asked}
        assert len(right) == 3
        assert all(right <= set(sample.choices) for sample in asked)


@pytest.mark.parametrize("kind", ["text", "number", "digit"])
def test_as_many_needles_as_there_are_colours_have_options(
    options: dict[str, Any], kind: str
) -> None:
    depths = [number / 7 for number in range(8)]
    more = {"needles": 8, "depths": depths, "lengths": [8], "kind": kind}
    samples = list(needle(options, form="choice", **more).samples())
    assert all(len(set(sample.choices)) == 4 for sample in samples)


def test_each_letter_is_right_once_in_four_repeats(options: dict[str, Any]) -> None:
    samples = list(needle(options, form="choice", repeats=4).samples())
    for depth in {sample.tags["depth"] for sample in samples}:
        letters = Counter(s.target for s in samples if s.tags["depth"] == depth)
        assert set(letters.values()) == {1}


def test_a_folder_of_videos_is_one_haystack(options: dict[str, Any], tmp_path: Path) -> None:
    write_clip(tmp_path / "film" / "b.mp4", num_frames=64, seed=1)
    (tmp_path / "film" / "notes.txt").write_text("none of them")
    # The second video's frames continue the first's: 16 seconds of film, and no frame twice.
    benchmark = needle(options, videos=[tmp_path / "film"], lengths=[16])
    frames = frames_of(benchmark, next(benchmark.samples()))
    assert len(frames) == 16
    backgrounds = {tuple(frame[36, 44]) for frame in frames[1:]}
    assert len(backgrounds) > 1


def test_frames_are_scaled_and_cut_to_the_size_asked_for(options: dict[str, Any]) -> None:
    benchmark = needle(options, size_px=[64, 96])
    assert frames_of(benchmark, next(benchmark.samples())).shape == (6, 96, 64, 3)


def test_its_scores_are_read_by_depth_and_length(options: dict[str, Any]) -> None:
    benchmark = needle(options)
    assert isinstance(benchmark, Gridded)
    assert all(set(benchmark.grid) <= set(sample.tags) for sample in benchmark.samples())


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"lengths": [6, 6]}, r"lengths: 6 is there 2 times"),
        ({"depths": [0.5, 0.50000001]}, r"depths: 50 % is there 2 times"),
        ({"depths": [1.5]}, r"depths.*at most 1; got 1.5"),
        ({"needles": 2}, r"needles: the 3 depths cannot be dealt out evenly to clips of 2 needles"),
        (
            {"needles": 3, "lengths": [2]},
            r"lengths: in 2 frames, the depths 0 and 0.4 are the same",
        ),
        ({"needles": 9}, r"needles: must be at most 8; got 9"),
        ({"kind": "word"}, r"kind: must be 'text', 'number' or 'digit'; got 'word'"),
        ({"size_px": [63, 64]}, r"size_px.*multiple of 2; got 63"),
        ({"videos": []}, r"videos: must have at least 1 entries"),
        ({"every_s": 0}, r"every_s: must be above 0; got 0"),
        ({"folder": "/films/../films", "videos": ["/films"]}, r"is one of the videos' folders"),
        ({"folder": "a\0b"}, r"folder: a path may not hold a null character; got 'a\\x00b'"),
        (
            {"folder": "/films", "videos": ["/films"]},
            r"folder: /films is one of the videos' folders",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, Any], given: dict[str, Any], found: str
) -> None:
    with pytest.raises(BenchmarkError, match=found):
        needle(options, **given)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"lengths": [9]}, r"lengths: 9 frames are wanted, and the videos give 8, one every 1 s"),
        ({"label_height": 0.1}, r"label_height: .* 4.0 pixels high.* at least 0.25"),
    ],
)
def test_clips_that_cannot_be_made_are_refused(
    options: dict[str, Any], given: dict[str, Any], found: str
) -> None:
    with pytest.raises(BenchmarkError, match=found):
        list(needle(options, **given).samples())
    assert not files(options)


def test_sources_that_cannot_be_read_are_named(options: dict[str, Any], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "empty" / "pipe.mp4")  # opening it would never end
    for path, found in (
        (tmp_path / "absent.mp4", "videos: there is no file or folder .*absent.mp4"),
        (tmp_path / "empty", "videos: no file in .*empty ends in .avi, .mkv"),
        (damaged, "videos: .*damaged.mp4"),
    ):
        with pytest.raises(BenchmarkError, match=found):
            list(needle(options, videos=[path]).samples())
    assert not files(options)


def test_a_folder_that_cannot_be_written_is_named(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "clips", tmp_path / ("x" * 300)):
        with pytest.raises(BenchmarkError, match=r"folder: the clip .*(file/clips|xxx)/"):
            list(needle(options, folder=folder).samples())


def test_what_is_in_the_way_of_a_clip_is_named(options: dict[str, Any]) -> None:
    name = next(needle(options).samples()).media[0].path
    (options["folder"] / name).unlink()
    (options["folder"] / name).mkdir()
    with pytest.raises(BenchmarkError, match=rf"{name} cannot be written: Is a directory"):
        next(needle(options).samples())
    assert not list(options["folder"].glob(".*.mp4"))


@pytest.mark.parametrize(
    "frames",
    [UniformInclusive(num_frames=5), EveryInterval(fps=0.5), EveryInterval(fps=1, max_frames=5)],
)
def test_frames_that_may_miss_the_needle_are_refused(
    options: dict[str, Any], frames: FrameSampling
) -> None:
    with pytest.raises(
        BenchmarkError, match=r"of a clip of 6 frames .* num_frames: 6}` or shorter"
    ):
        list(needle(options, frames).samples())


@pytest.mark.parametrize(
    "frames",
    [UniformInclusive(num_frames=6), UniformInclusive(num_frames=64), EveryInterval(fps=1)],
)
def test_frames_that_show_all_are_taken(options: dict[str, Any], frames: FrameSampling) -> None:
    assert list(needle(options, frames).samples())
