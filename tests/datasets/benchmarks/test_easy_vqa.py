"""easy-VQA: the package's layout, answers as classes, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from encodeonce.datasets.benchmarks import easy_vqa as loader
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError
from tests.datasets.benchmarks.image_layouts import easy_vqa


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return load_benchmark("easy_vqa", easy_vqa(tmp_path))


def test_the_test_split_is_asked_unless_another_is_named(tmp_path: Path) -> None:
    options = easy_vqa(tmp_path)
    asked = list(load_benchmark("easy_vqa", options).samples())
    assert [sample.id for sample in asked] == ["0", "1", "2"]
    assert [sample.group for sample in asked] == ["0", "0", "7"]
    assert [sample.tags["asks"] for sample in asked] == ["shape", "yes or no", "colour"]
    assert asked[2].media[0].path == "test/images/7.png"
    (trained,) = load_benchmark("easy_vqa", {**options, "split": "train"}).samples()
    assert trained.media[0].path == "train/images/0.png"


@pytest.mark.parametrize(
    ("answer", "value", "extracted"),
    [
        ("circle", 1.0, "circle"),
        (" Circle.\n", 1.0, "circle"),
        ("rectangle", 0.0, "rectangle"),
        ("a circle", 0.0, None),
        ("circle, no triangle", 0.0, None),
        ("circles", 0.0, None),
        ("", 0.0, None),
    ],
)
def test_an_answer_is_one_of_the_classes(
    answer: str, value: float, extracted: str | None, benchmark: Benchmark
) -> None:
    score = benchmark.score(next(iter(benchmark.samples())), answer)
    assert (score.value, score.extracted) == (value, extracted)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (["what is it?", "circle"], r"entry 1: expected a list of question, answer, image; got \["),
        ({"question": "what is it?"}, "expected a list of question, answer, image; got {"),
        (["what is it?", "square", 0], "entry 1: the answer 'square' is none of yes, no, circle"),
        (["what is it?", "circle", "0"], "entry 1: image: must be a whole number"),
        (["", "circle", 0], "entry 1: question: must not be empty"),
        (["what is it?", "circle", 3], r"1 of 1 media .*test/images/3\.png\. Type `pip install"),
    ],
)
def test_what_is_not_as_published_is_refused(entry: Any, message: str, tmp_path: Path) -> None:
    options = easy_vqa(tmp_path)
    (tmp_path / "test" / "questions.json").write_text(json.dumps([entry]))
    with pytest.raises(BenchmarkError, match=message):
        list(load_benchmark("easy_vqa", options).samples())


def test_a_folder_without_the_split_is_refused(tmp_path: Path) -> None:
    missing = load_benchmark("easy_vqa", {"folder": tmp_path})
    with pytest.raises(BenchmarkError, match=r"questions\.json is not there\. Type `pip install"):
        list(missing.samples())


class TestInstalled:
    """Where the data come from when no folder is named."""

    @staticmethod
    def pretend(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
        def find_spec(name: str) -> Any:
            assert name == "easy_vqa"
            return found

        monkeypatch.setattr(loader.importlib.util, "find_spec", find_spec)

    def test_the_packages_data_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        easy_vqa(tmp_path / "data")
        self.pretend(monkeypatch, SimpleNamespace(submodule_search_locations=[str(tmp_path)]))
        assert len(list(load_benchmark("easy_vqa", {}).samples())) == 3

    @pytest.mark.parametrize("found", [None, SimpleNamespace(submodule_search_locations=None)])
    def test_without_the_package_the_message_says_what_to_type(
        self, found: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.pretend(monkeypatch, found)
        with pytest.raises(BenchmarkError, match=r"not installed\. Type `pip install easy-vqa`"):
            list(load_benchmark("easy_vqa", {}).samples())
