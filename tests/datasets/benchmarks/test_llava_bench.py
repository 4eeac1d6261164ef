"""LLaVA-Bench (In-the-Wild): its four files, what a judge is told, the ratio of grades."""

import json
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.rubric import Judgeable, Judged, Verdict
from encodeonce.datasets.sample import BenchmarkError
from tests.datasets.benchmarks.image_layouts import llava_bench


@pytest.fixture
def benchmark(tmp_path: Path) -> Judgeable:
    found = load_benchmark("llava_bench", llava_bench(tmp_path))
    assert isinstance(found, Judgeable)
    return found


def test_questions_references_and_pictures_come_together(benchmark: Judgeable) -> None:
    first, second, third = benchmark.samples()
    assert (first.id, first.question, first.target) == ("0", "What is it?", "A green field.")
    assert [one.tags["category"] for one in (first, second, third)] == [
        "conversation", "detail", "complex reasoning",
    ]  # fmt: skip
    assert first.group == second.group == "001.jpg"


def test_a_judge_is_told_the_description_and_both_answers(benchmark: Judgeable) -> None:
    first, _, third = benchmark.samples()
    message = benchmark.rubric.ask(benchmark.judged_texts(first, "Grass {x}."))
    for text in ("Green, all over.", "What is it?", "A green field.", "Grass {x}."):
        assert text in message
    assert "One line.\nAnother." in benchmark.judged_texts(third, "x")["context"]


def test_the_score_is_the_ratio_of_mean_grades(benchmark: Judgeable) -> None:
    grades = [(0.9, 0.6), (0.8, 0.2), (0.3, 0.6)]
    judged = [
        Judged(
            sample=sample.id,
            group=sample.group,
            tags=sample.tags,
            verdict=Verdict(value=ours, reference=theirs),
        )
        for sample, (theirs, ours) in zip(benchmark.samples(), grades, strict=True)
    ]
    figures = benchmark.summarise_verdicts(judged)
    assert list(figures)[0] == "relative score, all"
    assert list(figures.values()) == pytest.approx([100 * 1.4 / 2.0, 200.0, 100 * 2 / 3, 25.0])


def drop(path: Path, number: int) -> None:
    lines = path.read_text().splitlines()
    del lines[number]
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("answers_gpt4.jsonl", lambda path: drop(path, 1), "no answer to question 1"),
        ("answers_gpt4.jsonl", lambda path: path.unlink(), "is not there. Download"),
        (
            "answers_gpt4.jsonl",
            lambda path: path.write_text(path.read_text() * 2),
            "line 4: question 0 is answered twice",
        ),
        (
            "questions.jsonl",
            lambda path: path.write_text(path.read_text().replace("detail", "other")),
            "line 2: category:",
        ),
        ("questions.jsonl", lambda path: path.write_text("[1]\n"), "expected an object, got list"),
        (
            "questions.jsonl",
            lambda path: path.write_text(path.read_text()[:-9]),
            "line 3 cannot be read as JSON",
        ),
        ("images/002.jpg", lambda path: path.unlink(), "1 of 2 media files"),
    ],
)
def test_data_that_are_not_as_published_are_refused(
    name: str, change: Any, message: str, tmp_path: Path
) -> None:
    options = llava_bench(tmp_path)
    change(tmp_path / name)
    with pytest.raises(BenchmarkError, match=message):
        list(load_benchmark("llava_bench", options).samples())


def test_only_a_judge_needs_descriptions(benchmark: Judgeable, tmp_path: Path) -> None:
    path = tmp_path / "context.jsonl"
    first = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps(first))
    _, _, third = benchmark.samples()
    with pytest.raises(BenchmarkError, match=r"says nothing of 002\.jpg"):
        benchmark.judged_texts(third, "x")
