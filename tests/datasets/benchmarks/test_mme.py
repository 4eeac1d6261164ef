"""MME: its folders, the first four letters, accuracy and accuracy+ by hand."""

from pathlib import Path

import pytest

from encodeonce.datasets.benchmarks.mme import COGNITION, PERCEPTION
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import (
    Benchmark,
    BenchmarkError,
    Exporting,
    Sample,
    Scored,
    Summarising,
)
from tests.contracts.benchmark import answered
from tests.datasets.benchmarks.image_layouts import mme


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return load_benchmark("mme", mme(tmp_path))


def test_both_forms_of_folders_are_read(benchmark: Benchmark) -> None:
    samples = list(benchmark.samples())
    assert [sample.id for sample in samples[:2]] == ["existence/001/1", "existence/001/2"]
    assert [sample.target for sample in samples[:2]] == ["Yes", "No"]
    assert samples[0].media[0].path == "existence/001.png"
    assert samples[-1].media[0].path == "posters/images/002.png"
    assert samples[-1].tags == {"kind": "perception", "subtask": "posters"}
    question = "Is picture 001 red? Please answer yes or no."
    assert (samples[0].question, benchmark.prompt(samples[0])) == (question, question)


@pytest.mark.parametrize(
    ("answer", "extracted"),
    [
        ("Yes, it is.", "Yes"), (" yes\n", "Yes"), ("No.", "No"), ("Not at all", "No"),
        ("I know", None), ("It is, yes", None), ("", None), ("Maybe", None), ("Y", None),
    ],
)  # fmt: skip
def test_the_first_four_letters_count(
    answer: str, extracted: str | None, benchmark: Benchmark
) -> None:
    sample = next(benchmark.samples())
    score = benchmark.score(sample, answer)
    assert (score.extracted, score.value) == (extracted, float(extracted == "Yes"))


def scored(benchmark: Benchmark, answers: str) -> list[Scored]:
    """Return answers by their first letters; ``-`` for a question without one."""
    words = {"y": "Yes", "n": "No"}
    return [
        answered(benchmark, sample, words[letter])
        for sample, letter in zip(benchmark.samples(), answers, strict=True)
        if letter != "-"
    ]


def test_a_subtask_scores_accuracy_and_accuracy_of_pairs(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Summarising)
    # existence: 3 of 4 answers and 1 of 2 pictures; posters: 2 of 4 answers, no picture.
    found = benchmark.summarise(scored(benchmark, "ynyyyynn"))
    assert found == {"existence, of 200": 75.0 + 50.0, "posters, of 200": 50.0}


def test_half_a_pair_does_not_count(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Summarising)
    found = benchmark.summarise(scored(benchmark, "yny-----"))
    assert found == {"existence, of 200": 200.0}


def perfect(subtask: str) -> list[Scored]:
    """Return the right answers to the two questions on one picture."""
    tags = {"subtask": subtask}
    return [
        Scored(
            sample=f"{subtask}{number}", group=f"{subtask}.png", tags=tags, question="?",
            target="Yes", text="Yes", value=1.0,
        )
        for number in range(2)
    ]  # fmt: skip


def test_sums_are_given_when_all_their_subtasks_are_there(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Summarising)
    assert len(PERCEPTION) == 10
    whole = [answer for subtask in (*PERCEPTION, *COGNITION) for answer in perfect(subtask)]
    assert list(benchmark.summarise(whole).items())[:3] == [
        ("all, of 2800", 2800.0), ("perception, of 2000", 2000.0), ("cognition, of 800", 800.0),
    ]  # fmt: skip
    part = [answer for answer in whole if answer.tags["subtask"] != "OCR"]
    assert "perception, of 2000" not in benchmark.summarise(part)
    assert benchmark.summarise(part)["cognition, of 800"] == 800.0


def test_the_evaluators_files_have_a_line_for_each_question(benchmark: Benchmark) -> None:
    assert isinstance(benchmark, Exporting)
    samples = list(benchmark.samples())
    answers = [answered(benchmark, sample, "Yes,\tit\nis") for sample in samples[:3]]
    assert benchmark.official_files(answers) == {
        "existence.txt": "001.png\tIs picture 001 red? Please answer yes or no.\tYes\tYes, it is\n"
        "001.png\tIs picture 001 blue? Please answer yes or no.\tNo\tYes, it is\n"
    }


def test_missing_and_half_unpacked_data_are_refused(tmp_path: Path) -> None:
    options = mme(tmp_path)

    def error(**changes: object) -> str:
        with pytest.raises(BenchmarkError) as caught:
            list(load_benchmark("mme", {**options, **changes}).samples())
        return str(caught.value)

    assert "existence is not there. Download with `hf" in error(folder=tmp_path / "absent")
    assert "count is not there" in error(subtasks=["existence", "count"])
    assert "subtasks.0: must be 'existence', 'count'" in error(subtasks=["colour"])
    (tmp_path / "posters" / "images" / "002.png").unlink()
    assert "there is no picture for 002.txt. Download with `hf" in error()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Is it? Yes\nIs it?\tNo\n", "line 1: expected a question, a tab, and Yes or No; got"),
        ("Is it?\tYes\nIs it?\tPerhaps\n", "line 2: expected a question, a tab"),
        ("Is it?\tYes\n", "expected two questions, got 1 lines"),
        ("Is it?\tYes\nIs it?\t\n", "line 2: expected"),
    ],
)
def test_a_wrong_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    options = mme(tmp_path)
    (tmp_path / "existence" / "002.txt").write_text(text)
    with pytest.raises(BenchmarkError, match=rf"002\.txt.*{message}"):
        list(load_benchmark("mme", options).samples())


def test_a_sample_is_about_one_picture(benchmark: Benchmark) -> None:
    samples: list[Sample] = list(benchmark.samples())
    assert all(sample.group == sample.media[0].path for sample in samples)
