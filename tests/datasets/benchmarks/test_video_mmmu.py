"""Video-MMMU: tracks, prompts, MMMU's reading of answers, Δknowledge."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample, Summarising
from tests.datasets.benchmarks.scores import scored
from tests.datasets.benchmarks.video_examples import video_mmmu_example

ALL_TRACKS = ("perception", "comprehension", "adaptation", "question_only")


def load(folder: Path, shown: Any = None, **options: Any) -> tuple[Benchmark, dict[str, Sample]]:
    content = {**video_mmmu_example(folder), "tracks": ALL_TRACKS, **options}
    benchmark = load_benchmark("video_mmmu", content, shown)
    return benchmark, {sample.id: sample for sample in benchmark.samples()}


def test_a_row_becomes_a_sample_of_its_track(tmp_path: Path) -> None:
    _, samples = load(tmp_path)
    assert list(samples) == [
        "perception/dev_Biology_3",
        "comprehension/dev_Biology_3",
        "adaptation/dev_Biology_3",
        "adaptation/validation_Art_Theory_12",
        "question_only/dev_Biology_3",
        "question_only/validation_Art_Theory_12",
    ]
    assert samples["adaptation/validation_Art_Theory_12"] == Sample(
        id="adaptation/validation_Art_Theory_12",
        media=(MediaRef(kind="video", path="Art/validation_Art_Theory_12.mp4"),),
        question="How many corners has it? <image 1>",
        target="4",
        group="validation_Art_Theory_12",
        tags={"track": "adaptation", "discipline": "Art", "subject": "Art_Theory"},
    )
    picture = samples["question_only/dev_Biology_3"]
    assert picture.media[0].path == "question_only/dev_Biology_3_image.mp4"
    assert picture.group == samples["perception/dev_Biology_3"].group


def test_the_three_tracks_of_the_paper_are_the_default(tmp_path: Path) -> None:
    _, samples = load(tmp_path, tracks=["perception", "comprehension", "adaptation"])
    options = {"folder": tmp_path}
    assert [s.id for s in load_benchmark("video_mmmu", options).samples()] == list(samples)


def test_videos_may_lie_where_vlmevalkit_unpacks_them(tmp_path: Path) -> None:
    options = video_mmmu_example(tmp_path)
    (tmp_path / "videos").mkdir()
    for name in ("Art", "Science", "question_only"):
        (tmp_path / name).rename(tmp_path / "videos" / name)
    first = next(load_benchmark("video_mmmu", options).samples())
    assert first.media[0].path == "videos/Science/dev_Biology_3.mp4"


def test_each_track_has_its_prompt(tmp_path: Path) -> None:
    benchmark, samples = load(tmp_path)
    prompts = {name: benchmark.prompt(sample) for name, sample in samples.items()}
    assert prompts["comprehension/dev_Biology_3"] == (
        "What would two squares do?\nA. meet\nB. part\nC. both\n"
        "Please ignore the Quiz question in last frame of the video."
    )
    assert prompts["adaptation/dev_Biology_3"] == (
        "You should watch and learn the video content. Then apply what you learned to answer the "
        "following multi-choice question. The image for this question is at the end of the video.\n"
        "What does <image 1> show?\nA. a square\nB. a circle"
    )
    assert prompts["adaptation/validation_Art_Theory_12"] == (
        "You should watch and learn the video content. Then apply what you learned to answer the "
        "following open-ended question. The image for this question is at the end of the video.\n"
        "How many corners has it? <image 1>"
    )
    assert prompts["question_only/dev_Biology_3"] == (
        "What does <image 1> show?\nA. a square\nB. a circle"
    )


@pytest.mark.parametrize(
    "frames",
    [
        {"policy": "uniform_interior", "num_frames": 8},
        {"policy": "uniform_inclusive", "num_frames": 1},
        {"policy": "fps", "fps": 1.0},
    ],
)
def test_frames_that_do_not_show_the_picture_are_refused(
    frames: Mapping[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(BenchmarkError, match="last frame, which frames .* need not show"):
        load(tmp_path, frames=frames)
    _, samples = load(tmp_path / "others", frames=frames, tracks=["perception", "question_only"])
    assert len(samples) == 3


def test_the_frames_of_the_run_are_what_is_checked(tmp_path: Path) -> None:
    load(tmp_path, UniformInclusive(num_frames=2))
    with pytest.raises(BenchmarkError, match="last frame"):
        load(tmp_path / "again", UniformInclusive(num_frames=1))


def test_options_and_free_answers_are_scored_as_in_mmmu(tmp_path: Path) -> None:
    benchmark, samples = load(tmp_path)
    choice = samples["comprehension/dev_Biology_3"]
    assert benchmark.score(choice, "A. meet is wrong, so the answer is C. both.").value == 1.0
    assert benchmark.score(choice, "(B)").extracted == "B"
    free = samples["adaptation/validation_Art_Theory_12"]
    assert benchmark.score(free, "The number of corners is 4.0").value == 1.0
    assert benchmark.score(free, "It has 5").value == 0.0
    assert benchmark.score(free, "").value == 0.0


def figures(benchmark: Benchmark, values: Mapping[str, list[float]]) -> Mapping[str, float]:
    assert isinstance(benchmark, Summarising)
    return benchmark.summarise(scored("track", values))


def test_knowledge_gained_is_what_was_missing_before(tmp_path: Path) -> None:
    benchmark, _ = load(tmp_path)
    found = figures(
        benchmark,
        {
            "perception": [1.0, 1.0, 1.0, 0.0],
            "adaptation": [1.0, 1.0, 0.0, 0.0],
            "question_only": [1.0, 0.0, 0.0, 0.0],
        },
    )
    # (50 % - 25 %) of the 75 % that were missing; 5 of 8 answers about lectures are right.
    assert found == {
        "accuracy without question_only, %": pytest.approx(62.5),
        "Δknowledge, %": pytest.approx(100 / 3),
    }
    worse = figures(benchmark, {"adaptation": [0.0], "question_only": [1.0, 0.0]})
    assert worse["Δknowledge, %"] == pytest.approx(-100.0)


def test_without_both_sides_there_is_no_gain(tmp_path: Path) -> None:
    benchmark, _ = load(tmp_path)
    assert figures(benchmark, {"perception": [1.0], "adaptation": [1.0]}) == {}
    assert figures(benchmark, {"question_only": [1.0]}) == {}
    assert "Δknowledge, %" not in figures(benchmark, {"adaptation": [1.0], "question_only": [1.0]})
