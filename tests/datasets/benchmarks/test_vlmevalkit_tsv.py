"""TSV files of VLMEvalKit: their location, their content, and the scoring of each kind."""

import base64
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample, Summarising
from tests.contracts.benchmark import answered
from tests.datasets.benchmarks.image_layouts import (
    BLUE,
    COLOUR,
    RED,
    encoded,
    png_of,
    vlmevalkit_tsv,
    write_picture,
    write_tsv,
)

WORDS = {"index": "a", "question": "Colour?", "answer": "Blue", "image": encoded(BLUE)}


def load(folder: Path, rows: list[dict[str, Any]], **options: Any) -> Benchmark:
    return load_benchmark(
        "vlmevalkit_tsv", {"file": write_tsv(folder / "own.tsv", rows), **options}
    )


def test_rows_become_samples(tmp_path: Path) -> None:
    benchmark = load_benchmark("vlmevalkit_tsv", vlmevalkit_tsv(tmp_path))
    choice, pair, people = benchmark.samples()
    assert (choice.id, choice.choices, choice.target) == ("1", ("red", "blue"), "A")
    assert len(pair.media) == 2
    assert (people.target, people.references) == ("blue", ("blue", "navy", "blue"))
    # The same picture, whichever row it is in, is the same file.
    assert set(pair.media) == {choice.media[0], people.media[0]}
    with Image.open(benchmark.media_root / people.media[0].path) as image:
        assert image.getpixel((0, 0)) == BLUE


def test_prompts_of_the_three_kinds(tmp_path: Path) -> None:
    benchmark = load_benchmark("vlmevalkit_tsv", vlmevalkit_tsv(tmp_path))
    choice, pair, _ = benchmark.samples()
    assert benchmark.prompt(choice).startswith(
        "Question: Which?\nOptions:\nA. red\nB. blue\nPlease"
    )
    assert benchmark.prompt(pair) == "Same?\nAnswer the question using a single word or phrase."
    yes_no = load(tmp_path, [{**WORDS, "answer": "No"}], free_answers="yes_no")
    assert yes_no.prompt(next(yes_no.samples())) == "Colour?"


def test_tsv_files_are_found_where_vlmevalkit_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tsv(tmp_path / "Own.tsv", [WORDS])
    monkeypatch.setenv("LMUData", str(tmp_path))
    benchmark = load_benchmark("vlmevalkit_tsv", {"dataset": "Own"})
    assert benchmark.media_root == tmp_path / "images" / "Own"
    assert [sample.id for sample in benchmark.samples()] == ["a"]
    monkeypatch.delenv("LMUData")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(BenchmarkError, match=r"home/LMUData/Own\.tsv is not there\. Download NAME"):
        list(load_benchmark("vlmevalkit_tsv", {"dataset": "Own"}).samples())


def test_image_paths_are_relative_to_the_folder_of_images(tmp_path: Path) -> None:
    write_picture(tmp_path / "pictures" / "sub" / "1.png", RED)
    row = {**WORDS, "image": "", "image_path": "sub/1.png"}
    both = {**row, "index": "b", "image_path": "['sub/1.png', 'sub/1.png']"}
    benchmark = load(tmp_path, [row, both], images=tmp_path / "pictures")
    one, two = benchmark.samples()
    assert [ref.path for ref in one.media] == ["sub/1.png"]
    assert len(two.media) == 2
    missing = load(tmp_path, [{**row, "image_path": "2.png"}], images=tmp_path / "pictures")
    with pytest.raises(BenchmarkError, match=r"1 of 1 media files .*2\.png\. Download"):
        list(missing.samples())


def test_rows_without_an_image_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [WORDS, {**WORDS, "index": "b", "image": ""}, {**WORDS, "index": "c", "image": "nan"}]
    assert [sample.id for sample in load(tmp_path, rows).samples()] == ["a"]
    assert "2 of 3 rows have no image" in caplog.text


@pytest.mark.parametrize(
    ("answer", "extracted"),
    [("No.", "No"), ("yes, it is", "Yes"), ("yes or no", None), ("", None), ("maybe", None)],
)
def test_yes_and_no(answer: str, extracted: str | None, tmp_path: Path) -> None:
    benchmark = load(tmp_path, [{**WORDS, "answer": "No"}], free_answers="yes_no")
    score = benchmark.score(next(benchmark.samples()), answer)
    assert (score.extracted, score.value) == (extracted, float(extracted == "No"))


def test_words_are_scored_as_the_options_say(tmp_path: Path) -> None:
    rows = [{**WORDS, "answer": str(["10", "10", "ten", "13"])}]
    for metric, value in (
        ("exact", 1.0),
        # "10", "10" and "ten" are one answer, given by 3 of 4 people. Left out one of the
        # three, 2 of 3 others agree; left out the fourth, 3 do.
        ("vqa_score", (3 * (2 / 3) + 1) / 4),
        ("accuracy", 1.0),
    ):
        benchmark = load(tmp_path, rows, metric=metric)
        sample = next(benchmark.samples())
        assert benchmark.score(sample, "10").value == pytest.approx(value), metric
        assert benchmark.score(sample, "").value == 0.0
    relaxed = load(tmp_path, rows, metric="relaxed_accuracy")
    assert relaxed.score(next(relaxed.samples()), "10.5").value == 1.0


def test_circular_files(tmp_path: Path) -> None:
    benchmark = load(tmp_path, COLOUR, evaluation="circular")
    assert isinstance(benchmark, Summarising)
    scored = [answered(benchmark, sample, sample.target) for sample in benchmark.samples()]
    assert benchmark.summarise(scored)["circular accuracy, % of 1 questions"] == 100.0
    vanilla = load(tmp_path, COLOUR)
    assert isinstance(vanilla, Summarising)
    assert len(list(vanilla.samples())) == 3
    assert vanilla.summarise(scored) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "write either 'dataset' or 'file'"),
        ({"file": "x.tsv", "dataset": "x"}, "write either 'dataset' or 'file'"),
        ({"dataset": "x", "metric": "bleu"}, "metric: must be 'exact'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        load_benchmark("vlmevalkit_tsv", options)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**WORDS, "answer": "Perhaps"}, "line 2: the answer is 'Perhaps'.*must be Yes or No"),
        ({**WORDS, "image": "[1, 2"}, "line 2: '.1, 2' is not a list"),
        ({**WORDS, "image": "b"}, "the image is 'b', which is neither"),
        ({**WORDS, "image": base64.b64encode(b"x" * 99).decode()}, "is not a readable image"),
        (
            {**WORDS, "image": base64.b64encode(png_of(60000, 3400)).decode()},
            r"own.tsv, line 2, column 'image': the picture .* is too large: .* make it smaller",
        ),
    ],
)
def test_a_wrong_row_is_refused(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=message):
        list(load(tmp_path, [row], free_answers="yes_no").samples())


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(BenchmarkError, match="cannot be written to .*as option 'images'"):
        list(load(tmp_path, [WORDS], images=tmp_path / "taken").samples())


def test_an_answer_in_brackets_is_one_answer(tmp_path: Path) -> None:
    sample: Sample = next(load(tmp_path, [{**WORDS, "answer": "[sic"}]).samples())
    assert (sample.target, sample.references) == ("[sic", ())
