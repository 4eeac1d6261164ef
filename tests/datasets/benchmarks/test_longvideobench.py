"""LongVideoBench: rows, subtitles of both forms, and the authors' scorer."""

from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.benchmarks.longvideobench import covering
from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.datasets.readers.subtitles import Subtitle
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample
from tests.datasets.benchmarks.video_examples import longvideobench_example, write_json

THREE = UniformInclusive(num_frames=3)  # of 24 at 8 a second: 0, 1.375 and 2.875 s

PROMPT = """\
When the subtitle says 'go', what does the square do?
A. it moves
B. it grows
C. it turns
D. it fades
E. it stays
Answer with the option's letter from the given choices directly."""


def load(folder: Path, shown: Any = None, **options: Any) -> tuple[Benchmark, list[Sample]]:
    content = {**longvideobench_example(folder), **options}
    benchmark = load_benchmark("longvideobench", content, shown)
    return benchmark, list(benchmark.samples())


def test_an_entry_becomes_a_sample(tmp_path: Path) -> None:
    _, (first, second) = load(tmp_path)
    assert first == Sample(
        id="cccccccccccc_0",
        media=(MediaRef(kind="video", path="videos/cccccccccccc.mp4"),),
        question="When the subtitle says 'go', what does the square do?",
        choices=("it moves", "it grows", "it turns", "it fades", "it stays"),
        target="A",
        group="cccccccccccc",
        tags={
            "duration_group": "up to 15 s",
            "question_category": "T2A",
            "topic_category": "NP-News-Programs",
        },
    )
    assert (second.choices, second.target) == (("the square", "the ground"), "A")


def test_duration_groups_choose(tmp_path: Path) -> None:
    _, samples = load(tmp_path, duration_groups=[600, 3600])
    assert [sample.id for sample in samples] == ["dddddddddddd_0"]


def test_without_subtitles_the_prompt_is_question_and_options(tmp_path: Path) -> None:
    benchmark, (first, _) = load(tmp_path)
    assert benchmark.prompt(first) == PROMPT


def test_subtitles_of_the_frames_stand_before_the_question(tmp_path: Path) -> None:
    benchmark, (first, second) = load(tmp_path, THREE, subtitles="frames")
    # "go" lasts from 0.9 to 1.0 s of this video, and is widened to 0.45 to 1.45 s, "no frame here"
    # from 2.0 to 2.2 s, widened to 1.6 to 2.6 s.
    assert benchmark.prompt(first) == f"go\nstop\n{PROMPT}"
    assert benchmark.prompt(second).startswith("white\nto the end\nWhich of the two")


def test_full_subtitles_leave_out_what_is_not_of_this_video(tmp_path: Path) -> None:
    benchmark, (first, _) = load(tmp_path, subtitles="full")
    assert benchmark.prompt(first) == f"go\nno frame here\nstop\n{PROMPT}"


def test_missing_subtitles_are_named_with_what_to_unpack(tmp_path: Path) -> None:
    benchmark, (first, _) = load(tmp_path, subtitles="full")
    (tmp_path / "subtitles" / "cccccccccccc_en.json").unlink()
    with pytest.raises(BenchmarkError, match=r"cccccccccccc_en\.json is not there.*subtitles\.tar"):
        benchmark.prompt(first)


@pytest.mark.parametrize("content", [3, [3], [{"text": "x"}], [{"start": "1", "end": "2"}]])
def test_subtitles_of_another_form_are_refused(content: Any, tmp_path: Path) -> None:
    benchmark, (first, _) = load(tmp_path, subtitles="full")
    write_json(tmp_path / "subtitles" / "cccccccccccc_en.json", content)
    with pytest.raises(BenchmarkError, match=r"expected a list of {start, end, line} or"):
        benchmark.prompt(first)


@pytest.mark.parametrize(
    ("start_s", "end_s", "frame_s", "covers"),
    [
        (1.0, 3.0, 2.0, True),
        (1.0, 3.0, 1.0, False),  # strictly within
        (1.0, 3.0, 3.0, False),
        (2.0, 2.2, 1.7, True),  # a second around 2.1
        (2.0, 2.2, 1.6, False),
        (2.0, 2.2, 2.5, True),
        (2.0, 3.0, 1.9, False),  # a second long already
    ],
)
def test_a_frame_within_a_subtitle_takes_it(
    start_s: float, end_s: float, frame_s: float, covers: bool
) -> None:
    subtitle = Subtitle(start_s=start_s, end_s=end_s, text="x")
    assert covering([subtitle], [0.0, frame_s]) == (["x"] if covers else [])


@pytest.mark.parametrize(
    ("answer", "extracted"),
    [
        ("A", "A"),
        ("(A) it moves", "A"),
        ("The correct option is: E", "E"),
        ("Best option: D", "D"),
        ("it moves", None),  # the authors draw one by lot
        ("", None),
    ],
)
def test_the_first_capital_letter_is_the_answer(
    answer: str, extracted: str | None, tmp_path: Path
) -> None:
    benchmark, (first, _) = load(tmp_path)
    score = benchmark.score(first, answer)
    assert (score.extracted, score.value) == (extracted, float(extracted == "A"))
