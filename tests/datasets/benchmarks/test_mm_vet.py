"""MM-Vet: its file, how much of the target an answer contains, the evaluator's file."""

import json
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.rubric import Judgeable, Judged, Verdict
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Exporting, Summarising
from tests.contracts.benchmark import answered
from tests.datasets.benchmarks.image_layouts import MM_VET, mm_vet, write_json


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return load_benchmark("mm_vet", mm_vet(tmp_path))


def test_the_question_is_put_alone_and_the_target_is_as_published(benchmark: Benchmark) -> None:
    first, second, third = benchmark.samples()
    assert (first.id, first.target, first.tags) == (
        "v1_0", "-1<AND>-5", {"capabilities": "math, ocr"},
    )  # fmt: skip
    assert benchmark.prompt(first) == "What is x?"
    assert second.group == third.group == "v1_1.png"


def test_the_measure_says_that_it_is_not_the_published_score(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Summarising)
    assert "not the MM-Vet score" in benchmark.measure


def test_a_capability_counts_wherever_it_is_needed(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Summarising)
    answers = ("x = -1 or 5", "a desk lamp", "1.3")  # 1 of 2 elements, the element, none
    scored = [
        answered(benchmark, sample, answer)
        for sample, answer in zip(benchmark.samples(), answers, strict=True)
    ]
    assert [one.value for one in scored] == [0.5, 1.0, 0.0]
    assert benchmark.summarise(scored) == {
        "target held, %, questions that need math": 25.0,
        "target held, %, questions that need ocr": 25.0,
        "target held, %, questions that need rec": 50.0,
    }


def test_a_judges_grades_give_the_published_figures(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Judgeable)
    samples = list(benchmark.samples())
    message = benchmark.rubric.ask(benchmark.judged_texts(samples[0], "-1, -5"))
    assert all(text in message for text in ("What is x?", "-1<AND>-5", "-1, -5"))
    judged = [
        Judged(sample=one.id, group=one.group, tags=one.tags, verdict=Verdict(value=value))
        for one, value in zip(samples, (0.5, 1.0, 0.0), strict=True)
    ]
    assert benchmark.summarise_verdicts(judged) == {
        "total": 50.0,
        "questions that need math": 25.0,
        "questions that need ocr": 25.0,
        "questions that need rec": 50.0,
    }


def test_the_evaluators_file_maps_questions_to_answers(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Exporting)
    scored = [answered(benchmark, sample, f"x\n{sample.id}é") for sample in benchmark.samples()]
    (text,) = benchmark.official_files(scored).values()
    assert json.loads(text) == {name: f"x\n{name}é" for name in MM_VET}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"v1_0": {**MM_VET["v1_0"], "answer": ""}}, "v1_0: answer: must not be empty"),
        ({"v1_0": {"question": "?"}}, "v1_0: imagename: is missing.*Read here: imagename"),
        ([MM_VET["v1_0"]], "expected an object, got list"),
    ],
)
def test_a_wrong_file_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    options = mm_vet(tmp_path)
    write_json(tmp_path / "mm-vet.json", content)
    with pytest.raises(BenchmarkError, match=rf"mm-vet\.json.*{message}"):
        list(load_benchmark("mm_vet", options).samples())


def test_a_question_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    options = mm_vet(tmp_path)
    one = json.dumps(MM_VET["v1_0"])
    (tmp_path / "mm-vet.json").write_text(f'{{"v1_0": {one}, "v1_0": {one}}}')
    with pytest.raises(BenchmarkError, match="the key 'v1_0' is there twice"):
        list(load_benchmark("mm_vet", options).samples())


def test_missing_and_half_downloaded_data_are_refused(tmp_path: Path) -> None:
    options = mm_vet(tmp_path)
    file = tmp_path / "mm-vet.json"
    text = file.read_text()
    (tmp_path / "images" / "v1_1.png").unlink()
    with pytest.raises(BenchmarkError, match=r"1 of 2 media files .*v1_1\.png\. Download http"):
        list(load_benchmark("mm_vet", options).samples())
    file.write_text(text[: len(text) // 2])
    with pytest.raises(BenchmarkError, match="damaged or not wholly downloaded"):
        list(load_benchmark("mm_vet", options).samples())
    file.unlink()
    with pytest.raises(BenchmarkError, match=r"mm-vet\.json is not there\. Download http"):
        list(load_benchmark("mm_vet", options).samples())
