"""Video-MME: rows, the authors' prompt, the authors' scorer, subtitles."""

from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.media.sampling import UniformInclusive, UniformInterior
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample
from tests.datasets.benchmarks.video_examples import video_mme_example

FOUR = UniformInclusive(num_frames=4)

PROMPT = """\
Select the best answer to the following multiple-choice question based on the video. Respond with \
only the letter (A, B, C, or D) of the correct option.
How many squares move?
A. None.
B. One.
C. Two.
D. Three.
The best answer is:"""


def load(folder: Path, shown: Any = None, **options: Any) -> tuple[Benchmark, list[Sample]]:
    benchmark = load_benchmark("video_mme", {**video_mme_example(folder), **options}, shown)
    return benchmark, list(benchmark.samples())


def test_a_row_becomes_a_sample(tmp_path: Path) -> None:
    _, (first, second, long) = load(tmp_path)
    assert first == Sample(
        id="001-1",
        media=(MediaRef(kind="video", path="data/aaaaaaaaaaa.mp4"),),
        question="How many squares move?",
        choices=("None.", "One.", "Two.", "Three."),
        target="B",
        group="aaaaaaaaaaa",
        tags={
            "duration": "short",
            "domain": "Knowledge",
            "sub_category": "Astronomy",
            "task_type": "Counting Problem",
        },
    )
    assert (second.media, second.group) == (first.media, first.group)
    assert long.tags["duration"] == "long"


def test_durations_choose(tmp_path: Path) -> None:
    _, samples = load(tmp_path, durations=["long"])
    assert [sample.id for sample in samples] == ["601-1"]


def test_an_unknown_duration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="'short', 'medium' or 'long'"):
        load(tmp_path, durations=["epic"])


def test_videos_may_lie_where_vlmevalkit_unpacks_them(tmp_path: Path) -> None:
    options = video_mme_example(tmp_path)
    (tmp_path / "data").rename(tmp_path / "video")
    (tmp_path / "video" / "bbbbbbbbbbb.mp4").rename(tmp_path / "video" / "bbbbbbbbbbb.mkv")
    paths = [s.media[0].path for s in load_benchmark("video_mme", options).samples()]
    assert paths == ["video/aaaaaaaaaaa.mp4"] * 2 + ["video/bbbbbbbbbbb.mkv"]


def test_without_subtitles_the_prompt_is_the_authors(tmp_path: Path) -> None:
    benchmark, (first, *_) = load(tmp_path)
    assert benchmark.prompt(first) == PROMPT


def test_subtitles_are_those_on_screen_at_the_frames_that_the_run_shows(tmp_path: Path) -> None:
    # Four of 24 frames at 8 a second: 0, 0.875, 1.875 and 2.875 s.
    benchmark, (first, *_) = load(tmp_path, FOUR, subtitles="frames")
    lines = "at the start\nin the middle & on two lines"
    assert benchmark.prompt(first) == f"This video's subtitles are listed below:\n{lines}\n{PROMPT}"
    # Two frames inside, at 1 and 2 s: the first subtitle is over, the second on screen.
    interior = UniformInterior(num_frames=2)
    benchmark, (first, *_) = load(tmp_path / "interior", interior, subtitles="frames")
    lines = "between two frames\nin the middle & on two lines"
    assert benchmark.prompt(first).startswith(f"This video's subtitles are listed below:\n{lines}")


def test_frames_of_the_options_go_before_those_of_the_run(tmp_path: Path) -> None:
    one = {"policy": "uniform_inclusive", "num_frames": 1}
    benchmark, (first, *_) = load(tmp_path, FOUR, subtitles="frames", frames=one)
    assert "at the start\nSelect" in benchmark.prompt(first)


def test_full_subtitles_are_all_of_them(tmp_path: Path) -> None:
    benchmark, (first, *_) = load(tmp_path, subtitles="full")
    lines = "at the start\nbetween two frames\nin the middle & on two lines"
    assert benchmark.prompt(first) == f"This video's subtitles are listed below:\n{lines}\n{PROMPT}"


def test_a_video_without_subtitles_says_so(tmp_path: Path) -> None:
    benchmark, samples = load(tmp_path, FOUR, subtitles="frames")
    assert "listed below:\nNo subtitles available\nSelect" in benchmark.prompt(samples[-1])


def test_subtitles_of_unknown_frames_are_refused(tmp_path: Path) -> None:
    benchmark, (first, *_) = load(tmp_path, subtitles="frames")
    with pytest.raises(BenchmarkError, match="frames: {policy: uniform_inclusive"):
        benchmark.prompt(first)


def test_subtitles_that_were_not_unpacked_are_named(tmp_path: Path) -> None:
    benchmark, (first, *_) = load(tmp_path, subtitles="full")
    (tmp_path / "subtitle").rename(tmp_path / "elsewhere")
    with pytest.raises(BenchmarkError, match=r"subtitle is not there.*subtitle\.zip"):
        benchmark.prompt(first)


def test_a_damaged_video_fails_at_its_own_turn_and_not_here(tmp_path: Path) -> None:
    benchmark, (first, *_) = load(tmp_path, FOUR, subtitles="frames")
    (tmp_path / "data" / "aaaaaaaaaaa.mp4").write_bytes(b"half")
    assert PROMPT in benchmark.prompt(first)


# What eval_your_results.py gives for these answers, worked out by hand.
@pytest.mark.parametrize(
    ("answer", "extracted"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B) One.", "B"),
        ("The best answer is: B. One.", "B"),
        ("Answer: B", "B"),
        ("The answer is C", "C"),
        ("A square moves, so B", "A"),  # the first capital, whatever it stands for
        ("Both do. B", "B"),
        ("b", None),
        ("One.", None),
        ("", None),
        ("I would say that it is the second one of the four options", None),
        ("E", None),
    ],
)
def test_the_first_capital_letter_is_the_answer(
    answer: str, extracted: str | None, tmp_path: Path
) -> None:
    benchmark, (first, *_) = load(tmp_path)
    score = benchmark.score(first, answer)
    assert (score.extracted, score.value) == (extracted, float(extracted == "B"))


def test_phrases_with_a_letter_in_them_are_taken_as_meant(tmp_path: Path) -> None:
    # The published script misses two commas in its list, and reads these as B.
    benchmark, (first, *_) = load(tmp_path)
    assert benchmark.score(first, "Best answer: C").extracted == "C"
    assert benchmark.score(first, "Best option: D").extracted == "D"
