"""MMBench: its TSV, its prompt, circular accuracy by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample, Summarising
from tests.contracts.benchmark import answered
from tests.datasets.benchmarks.image_layouts import COLOUR, SHAPE, mmbench, write_tsv


def load(folder: Path, **options: Any) -> Benchmark:
    return load_benchmark("mmbench", {**mmbench(folder), **options})


def figures(benchmark: Benchmark, answers: Mapping[str, str]) -> Mapping[str, float]:
    assert isinstance(benchmark, Summarising)
    samples = {sample.id: sample for sample in benchmark.samples()}
    return benchmark.summarise([answered(benchmark, samples[n], a) for n, a in answers.items()])


def test_every_question_is_followed_by_its_copies(tmp_path: Path) -> None:
    samples = list(load(tmp_path).samples())
    assert [sample.id for sample in samples] == ["3", "1000003", "2000003", "4", "1000004"]
    assert [sample.target for sample in samples] == ["B", "A", "C", "A", "B"]
    assert samples[1].choices == ("green", "blue", "red")
    assert samples[1].tags == {
        "category": "colour", "l2-category": "attributes", "hint": "with", "pass": "2 of 3",
    }  # fmt: skip
    assert samples[3].tags["hint"] == "without"


def test_a_picture_is_one_file_however_often_it_is_referred_to(tmp_path: Path) -> None:
    benchmark = load(tmp_path)
    media = [sample.media for sample in benchmark.samples()]
    assert len(set(media[:3])) == len(set(media[3:])) == 1
    folder = tmp_path / "images" / "MMBench_DEV_EN"
    assert benchmark.media_root == folder
    assert sorted(path.suffix for path in folder.iterdir()) == [".jpeg", ".png"]


def test_the_legacy_form_with_a_copy_in_every_row_gives_the_same(tmp_path: Path) -> None:
    legacy = [{**row, "image": COLOUR[0]["image"]} for row in COLOUR]
    file = write_tsv(tmp_path / "legacy.tsv", legacy)
    benchmark = load(tmp_path, file=file, images=tmp_path / "elsewhere")
    assert list(benchmark.samples()) == list(load(tmp_path).samples())[:3]
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_prompts(tmp_path: Path) -> None:
    sample = next(load(tmp_path).samples())
    assert load(tmp_path).prompt(sample) == (
        "Hint: Look well.\nQuestion: Which colour?\nOptions:\nA. red\nB. green\nC. blue\n"
        "Please select the correct answer from the options above. \n"
    )
    llava = load(tmp_path, prompt_style="llava")
    assert llava.prompt(next(llava.samples())) == (
        "Look well.\nWhich colour?\nA. red\nB. green\nC. blue\n"
        "Answer with the option's letter from the given choices directly."
    )


def test_a_question_is_right_if_all_its_passes_are(tmp_path: Path) -> None:
    answers = {"3": "B", "1000003": "green", "2000003": "C.", "4": "A", "1000004": "A"}
    assert figures(load(tmp_path), answers) == {
        "circular accuracy, % of 2 questions": 50.0,
        "circular accuracy, l2-category attributes, % of 2 questions": 50.0,
        "circular accuracy, category colour, % of 1 questions": 100.0,
        "circular accuracy, category shape, % of 1 questions": 0.0,
    }


def test_a_question_of_which_a_pass_failed_is_left_out(tmp_path: Path) -> None:
    answers = {"3": "B", "1000003": "A", "4": "", "1000004": "B"}
    found = figures(load(tmp_path), answers)
    assert found["circular accuracy, % of 1 questions"] == 0.0


def test_vanilla_asks_every_question_once(tmp_path: Path) -> None:
    benchmark = load(tmp_path, evaluation="vanilla")
    assert [sample.id for sample in benchmark.samples()] == ["3", "4"]
    assert figures(benchmark, {"3": "B"}) == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**SHAPE[0], "answer": "C"}], r"line 2: the answer 'C' is none of the letters A, B"),
        ([{**SHAPE[0], "answer": ""}], "line 2: column 'answer' is empty"),
        ([{**SHAPE[0], "question": ""}], "line 2: column 'question' is empty"),
        ([SHAPE[0], SHAPE[0]], "line 3: the id '4' is taken already, by .*line 2"),
        ([SHAPE[0], SHAPE[1], SHAPE[1]], "line 4: the id '1000004' is taken already"),
        ([{**SHAPE[0], "B": "", "C": "x"}], "the options are A, C, with a gap"),
        ([{**SHAPE[0], "A": "", "B": ""}], "the columns A and B hold no options"),
        ([{**SHAPE[0], "index": "four"}], "the index 'four' is no number.*evaluation: vanilla"),
        ([SHAPE[1]], "the image is '4', which is neither base64 nor the index"),
        ([{**SHAPE[1], "image": SHAPE[0]["image"]}], "a copy of the question 4, which is not"),
        ([{**SHAPE[0], "image": "A" * 100}], "column 'image': .* is not a readable image"),
        ([{"index": 1, "question": "?"}], "there is no column 'answer', only index.*test split"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    benchmark = load(tmp_path, file=write_tsv(tmp_path / "wrong.tsv", rows))
    with pytest.raises(BenchmarkError, match=message):
        list(benchmark.samples())


def test_a_missing_file_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"absent\.tsv is not there\. Download MMBench_DEV_EN"):
        list(load(tmp_path, file=tmp_path / "absent.tsv").samples())


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_half_downloaded_file_is_refused(kept: float, tmp_path: Path) -> None:
    file = mmbench(tmp_path)["file"]
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BenchmarkError, match="not wholly downloaded"):
        list(load_benchmark("mmbench", {"file": file}).samples())


def test_scores_are_those_of_the_first_reading(tmp_path: Path) -> None:
    benchmark = load(tmp_path)
    sample: Sample = next(benchmark.samples())
    for answer, extracted, value in (
        ("B", "B", 1.0), ("It is green.", "B", 1.0), ("(C) blue", "C", 0.0),
        ("A or B", None, 0.0), ("", None, 0.0), ("yellow", None, 0.0),
    ):  # fmt: skip
        score = benchmark.score(sample, answer)
        assert (score.extracted, score.value) == (extracted, value), answer
