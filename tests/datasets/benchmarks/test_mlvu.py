"""MLVU's dev set: tasks, flaws of the published files, the authors' scorer and M-Avg."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, Sample, Summarising
from tests.datasets.benchmarks.scores import scored
from tests.datasets.benchmarks.video_examples import mlvu_example, mlvu_row, write_json

PROMPT = """\
Carefully watch this video and pay attention to every detail. Based on your observations, select \
the best option that accurately addresses the question.
Question: What colour is the square?
Options:
(A) Red
(B) Green
(C) Blue
(D) White
Only give the best option.
Best Option: ("""


def load(folder: Path, **options: Any) -> tuple[Benchmark, list[Sample]]:
    benchmark = load_benchmark("mlvu", {**mlvu_example(folder), **options})
    return benchmark, list(benchmark.samples())


def test_every_task_is_asked_in_the_order_of_its_file(tmp_path: Path) -> None:
    _, samples = load(tmp_path)
    assert len(samples) == 14
    assert samples[0] == Sample(
        id="plotQA-0",
        media=(MediaRef(kind="video", path="video/1_plotQA/plotQA_0.mp4"),),
        question="What colour is the square?",
        choices=("Red", "Green", "Blue", "White"),
        target="D",
        group="video/1_plotQA/plotQA_0.mp4",
        tags={"task": "plotQA"},
    )
    assert samples[-1].id == "topic_reasoning-1"


def test_tasks_choose(tmp_path: Path) -> None:
    _, samples = load(tmp_path, tasks=["count"])
    assert [sample.id for sample in samples] == ["count-0", "count-1"]


def test_the_prompt_is_the_authors(tmp_path: Path) -> None:
    benchmark, (first, *_) = load(tmp_path)
    assert benchmark.prompt(first) == PROMPT


def flawed(folder: Path, **changes: Any) -> tuple[Benchmark, Sample]:
    options = mlvu_example(folder)
    write_json(folder / "json" / "3_ego.json", [mlvu_row("ego_2.mp4", **changes)])
    benchmark = load_benchmark("mlvu", {**options, "tasks": ["ego"]})
    (sample,) = benchmark.samples()
    return benchmark, sample


def test_an_option_listed_twice_counts_by_its_last_letter(tmp_path: Path) -> None:
    _, sample = flawed(tmp_path, candidates=["Six", "Three", "Three", "Eight"], answer="Three")
    assert sample.target == "C"


def test_an_answer_that_is_no_option_can_only_be_missed(tmp_path: Path) -> None:
    benchmark, sample = flawed(tmp_path, answer="Catching a drone")
    for answer in ("A", "B", "C", "D", "Catching a drone"):
        assert benchmark.score(sample, answer).value == 0.0


def test_an_empty_option_is_not_what_no_answer_says(tmp_path: Path) -> None:
    benchmark, sample = flawed(tmp_path, candidates=["2", "5", "10", ""], answer="", question="")
    assert sample.target == "D"
    assert benchmark.score(sample, "D)").value == 1.0
    for answer in ("", " ", "?"):
        assert benchmark.score(sample, answer).value == 0.0


# check_ans of choice_bench.py: the letter before the first bracket, or the letter alone.
@pytest.mark.parametrize(
    ("answer", "extracted"),
    [
        ("D) White", "D"),
        ("(D) White", "D"),
        ("D", "D"),
        (" D\n", "D"),
        ("A) Red, not (D)", "A"),
        # Other forms: wrong for that script, and read here.
        ("D.", "D"),
        ("The answer is D", "D"),
        ("White", "D"),
        ("(the last) D", "D"),
        ("none", None),
        ("", None),
    ],
)
def test_answers_are_read_as_the_authors_do(
    answer: str, extracted: str | None, tmp_path: Path
) -> None:
    benchmark, (first, *_) = load(tmp_path)
    score = benchmark.score(first, answer)
    assert (score.extracted, score.value) == (extracted, float(extracted == "D"))


def figures(benchmark: Benchmark, values: Mapping[str, list[float]]) -> Mapping[str, float]:
    assert isinstance(benchmark, Summarising)
    return benchmark.summarise(scored("task", values))


def test_m_avg_gives_every_task_the_same_weight(tmp_path: Path) -> None:
    benchmark, _ = load(tmp_path)
    scores = {"plotQA": [1.0, 1.0, 1.0, 1.0], "count": [0.0], "ego": [1.0, 0.0]}
    assert figures(benchmark, scores) == {"mean of 3 tasks, %": pytest.approx(50.0)}
    others = {task: [0.0] for task in ("needle", "order", "anomaly_reco", "topic_reasoning")}
    assert figures(benchmark, {**scores, **others}) == {"M-Avg, %": pytest.approx(150 / 7)}
    assert figures(benchmark, {}) == {}
