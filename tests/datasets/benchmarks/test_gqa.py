"""GQA: its file, exact match as LLaVA prepares answers, the evaluator's file."""

import json
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Exporting
from tests.contracts.benchmark import answered
from tests.datasets.benchmarks.image_layouts import gqa, gqa_question, write_json


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return load_benchmark("gqa", gqa(tmp_path))


def test_balanced_questions_are_asked_with_their_types(benchmark: Benchmark) -> None:
    samples = list(benchmark.samples())
    assert [sample.id for sample in samples] == ["201307251", "201640614", "202225914"]
    assert [sample.tags["answer"] for sample in samples] == ["binary", "open", "binary"]
    assert samples[0].tags == {"answer": "binary", "structural": "verify", "semantic": "attr"}
    assert (samples[2].media[0].path, samples[2].group) == ("n2.jpg", "n2")
    assert benchmark.prompt(samples[0]) == (
        "Is it verify?\nAnswer the question using a single word or phrase."
    )


@pytest.mark.parametrize(
    ("answer", "value"),
    [("pizza", 1.0), (" Pizza.\n", 1.0), ("a pizza", 0.0), ("pizzas", 0.0), ("", 0.0), (".", 0.0)],
)
def test_an_answer_is_the_same_text(answer: str, value: float, benchmark: Benchmark) -> None:
    sample = list(benchmark.samples())[1]
    assert benchmark.score(sample, answer).value == value


def test_the_evaluators_file_lists_prepared_answers(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Exporting)
    sample = next(benchmark.samples())
    (text,) = benchmark.official_files([answered(benchmark, sample, "Yes.")]).values()
    assert json.loads(text) == [{"questionId": "201307251", "prediction": "yes"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"1": gqa_question("", "query")}, "question 1: answer: must not be empty"),
        ({"1": {"question": "?", "imageId": "n1"}}, "answer: is missing"),
        ({"1": gqa_question("x", "query", types=None)}, "question 1: types: "),
        ([gqa_question("x", "query")], "expected an object, got list"),
        ({"1": gqa_question("x", "query", image="n9")}, r"1 of 1 media .*n9\.jpg\. Download"),
    ],
)
def test_wrong_or_missing_data_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    options = gqa(tmp_path)
    write_json(tmp_path / "testdev_balanced_questions.json", content)
    with pytest.raises(BenchmarkError, match=message):
        list(load_benchmark("gqa", options).samples())


def test_an_absent_file_and_a_cut_one_are_refused(tmp_path: Path) -> None:
    options = gqa(tmp_path)
    file: Path = options["file"]
    file.write_text(file.read_text()[:-20])
    with pytest.raises(BenchmarkError, match="damaged or not wholly downloaded"):
        list(load_benchmark("gqa", options).samples())
    file.unlink()
    with pytest.raises(BenchmarkError, match=r"is not there\. Download questions1\.2\.zip"):
        list(load_benchmark("gqa", options).samples())
    file.write_text(f'{{"1": {json.dumps(gqa_question("x", "query"))}, "1": 2}}')
    with pytest.raises(BenchmarkError, match="the key '1' is there twice"):
        list(load_benchmark("gqa", options).samples())
