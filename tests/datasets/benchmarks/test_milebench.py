"""MileBench: its files, a rule for each kind of data set, means by hand."""

from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.benchmarks.milebench import GROUPS
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample, Scored, Summarising
from tests.contracts.benchmark import answered
from tests.datasets.benchmarks.image_layouts import milebench, milebench_set, write_json


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return load_benchmark("milebench", milebench(tmp_path))


@pytest.fixture
def samples(benchmark: Benchmark) -> dict[str, Sample]:
    return {sample.id: sample for sample in benchmark.samples()}


def test_samples_have_instruction_images_and_the_name_of_the_right_option(
    samples: dict[str, Sample],
) -> None:
    sample = samples["ActionSequence/0"]
    assert [ref.path for ref in sample.media] == [
        "ActionSequence/images/0.png", "ActionSequence/images/1.png",
    ]  # fmt: skip
    # "It fell." is the option "It fell" after the scorer's normalisation.
    assert (sample.choices, sample.target) == (("Nothing", "It fell"), "B")
    assert sample.tags == {
        "group": "Realistic Temporal", "data set": "ActionSequence", "images": "few",
    }  # fmt: skip
    assert samples["GPR1200/0"].target == "dog 30"
    assert samples["GPR1200/0"].tags["images"] == "medium"


def test_the_words_point_to_images_by_number(
    benchmark: Benchmark, samples: dict[str, Sample]
) -> None:
    assert benchmark.prompt(samples["ActionSequence/1"]) == (
        "Watch.\n<Image 1> before <Image 2> after. What changed in 1?\n"
        "Choice list: \nA. Nothing\nB. It fell\nYour answer is: "
    )
    assert benchmark.prompt(samples["IEdit/0"]) == (
        "Look.\n<Image 1> before <Image 2> after. What changed in 0?"
    )
    assert "\nChoice list: \ndog 00\ndog 01\n" in benchmark.prompt(samples["GPR1200/0"])


@pytest.mark.parametrize(
    ("name", "answer", "value"),
    [
        ("ActionSequence/0", "B. It fell", 1.0),
        ("ActionSequence/0", "b", 1.0),
        ("ActionSequence/0", "Nothing, it fell", 0.0),  # the first option that stands there
        ("ActionSequence/0", "", 0.0),
        ("TextNeedleInAHaystack/0", "It is 4711.", 1.0),
        ("TextNeedleInAHaystack/0", "It is 47110", 0.0),
        ("MMCoQA/0", "They met at the old bridges", 1.0),
        ("MMCoQA/0", "an old bridge", 0.0),
        ("GPR1200/0", "dog 30", 1.0),
        ("GPR1200/0", "dog 3", 0.0),
        # 3 of 3 distinct words predicted, of 5 referred to: 2 * 3 / (3 + 5).
        ("IEdit/0", "The sky, darker", 0.75),
    ],
)
def test_each_kind_of_data_set_has_its_rule(
    name: str, answer: str, value: float, benchmark: Benchmark, samples: dict[str, Sample]
) -> None:
    assert benchmark.score(samples[name], answer).value == pytest.approx(value)


def test_figures_are_means_by_data_set(benchmark: Benchmark, samples: dict[str, Sample]) -> None:
    assert isinstance(benchmark, Summarising)
    answers = {"ActionSequence/0": "B", "ActionSequence/1": "B", "TextNeedleInAHaystack/0": "4711"}
    scored = [answered(benchmark, samples[name], answer) for name, answer in answers.items()]
    assert benchmark.summarise(scored) == {
        "ActionSequence, %": 50.0,
        "TextNeedleInAHaystack, %": 100.0,
    }


def test_a_whole_group_has_a_mean_of_its_data_sets(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Summarising)
    names = GROUPS["Diagnostic"]
    values = {names[0]: [1.0, 0.0], names[1]: [1.0], names[2]: [0.0]}
    scored = [
        Scored(
            sample=name, group=name, tags={"data set": name}, question="?", target="x", text="x",
            value=value,
        )
        for name in names
        for value in values[name]
    ]  # fmt: skip
    assert benchmark.summarise(scored)["Diagnostic, mean of 3 data sets, %"] == pytest.approx(50.0)
    assert [len(found) for found in GROUPS.values()] == [13, 13, 3]


WRONG: dict[str, tuple[Any, str]] = {
    "no list": ({**milebench_set("open-ended", ["x"]), "data": {}}, "expected a list of samples"),
    "no meta data": ({"data": []}, "meta_data: task_instruction: is missing"),
    "another type": (milebench_set("essay", ["x"]), "question_type: .*'multi-choice' or"),
    "no options": (milebench_set("multi-choice", ["x"]), "sample 1: there is no choice_list"),
    "an answer beyond": (
        milebench_set("multi-choice", ["x", "z"], ["x", "y"]),
        "sample 2: the response 'z' is none of the options x, y",
    ),
    "an empty answer": (
        milebench_set("open-ended", [""]),
        "sample 1: the response '' says nothing",
    ),
    "no images": (milebench_set("open-ended", ["x"], num_images=0), "images_path: "),
    "a missing image": (milebench_set("open-ended", ["x"], num_images=9), "2 of 9 media files"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_data_are_refused(case: str, tmp_path: Path) -> None:
    content, message = WRONG[case]
    milebench(tmp_path)
    write_json(tmp_path / "IEdit" / "IEdit.json", content)
    options = {"folder": tmp_path, "datasets": ["IEdit"]}
    with pytest.raises(BenchmarkError, match=message):
        list(load_benchmark("milebench", options).samples())


def test_an_instruction_that_is_not_there_and_a_taken_id_are_refused(tmp_path: Path) -> None:
    milebench(tmp_path)
    options = {"folder": tmp_path, "datasets": ["IEdit"]}
    content = milebench_set("open-ended", ["x", "y"])
    content["data"][1]["task_instruction_id"] = 7
    write_json(tmp_path / "IEdit" / "IEdit.json", content)
    with pytest.raises(BenchmarkError, match="sample 2: task_instruction_id is 7, and there are 2"):
        list(load_benchmark("milebench", options).samples())
    content["data"][1] = content["data"][0]
    write_json(tmp_path / "IEdit" / "IEdit.json", content)
    with pytest.raises(BenchmarkError, match="the id 'IEdit/0' is taken already"):
        list(load_benchmark("milebench", options).samples())


def test_missing_and_half_downloaded_data_are_refused(tmp_path: Path) -> None:
    options = milebench(tmp_path)
    with pytest.raises(
        BenchmarkError, match=r"ActionLocalization\.json is not there\. Download the archives"
    ):
        list(load_benchmark("milebench", {"folder": tmp_path}).samples())
    with pytest.raises(BenchmarkError, match="MileBench has no 'IEdits'; it has ActionLocal"):
        list(load_benchmark("milebench", {**options, "datasets": ["IEdits"]}).samples())
    (tmp_path / "IEdit" / "IEdit.json").write_text('{"data": [')
    with pytest.raises(BenchmarkError, match="damaged or not wholly downloaded"):
        list(load_benchmark("milebench", options).samples())
