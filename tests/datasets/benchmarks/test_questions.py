"""Users' own questions: files, columns, and messages that show the line to fix."""

import importlib
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample

hf_datasets = importlib.import_module("datasets")

CHOICE = {
    "id": "q1", "video": "a.mp4", "question": "Which?", "choices": ["cat", "dog"], "answer": "B",
}  # fmt: skip
FREE = {"id": "q2", "image": ["a.png", "b.png"], "question": "How many?", "answer": 7}


def write_lines(folder: Path, rows: Sequence[Any]) -> Path:
    path = folder / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(path: Path, **options: Any) -> Benchmark:
    return load_benchmark("questions", {"file": path, "media_root": path.parent, **options})


def samples(path: Path, **options: Any) -> list[Sample]:
    return list(load(path, **options).samples())


def test_rows_become_samples(tmp_path: Path) -> None:
    tagged = {**FREE, "group": "g", "tags": {"kind": "count"}, "unrelated": 1}
    choice, free = samples(write_lines(tmp_path, [CHOICE, tagged]))
    assert choice == Sample(
        id="q1",
        media=(MediaRef(kind="video", path="a.mp4"),),
        question="Which?",
        choices=("cat", "dog"),
        target="B",
        group="a.mp4",
    )
    assert [ref.path for ref in free.media] == ["a.png", "b.png"]
    assert (free.target, free.group, free.tags) == ("7", "g", {"kind": "count"})


def test_the_right_option_may_be_given_by_its_text(tmp_path: Path) -> None:
    assert samples(write_lines(tmp_path, [{**CHOICE, "answer": "dog"}]))[0].target == "B"


def test_null_columns_and_tags_count_as_absent(tmp_path: Path) -> None:
    row = {**CHOICE, "image": None, "group": None, "tags": {"kind": "x", "form": None}}
    (sample,) = samples(write_lines(tmp_path, [row]))
    assert (sample.group, sample.tags) == ("a.mp4", {"kind": "x"})


def test_clips_have_a_start_and_an_end(tmp_path: Path) -> None:
    rows = [
        {**CHOICE, "id": 1, "clip_start_s": 2, "clip_end_s": 5.5},
        {**CHOICE, "id": 2, "clip_end_s": 3},
    ]
    clips = [sample.media[0].clip_s for sample in samples(write_lines(tmp_path, rows))]
    assert clips == [(2.0, 5.5), (0.0, 3.0)]


def test_media_of_both_kinds_keep_the_order_they_are_listed_in(tmp_path: Path) -> None:
    media = [
        {"kind": "video", "path": "a.mp4", "clip_s": [0.0, 1.5]},
        {"kind": "image", "path": "a.png"},
    ]
    row = {"id": 1, "question": "?", "answer": "x", "media": media}
    assert samples(write_lines(tmp_path, [row]))[0].media == (
        MediaRef(kind="video", path="a.mp4", clip_s=(0.0, 1.5)),
        MediaRef(kind="image", path="a.png"),
    )


def test_columns_may_have_other_names_and_one_column_an_option(tmp_path: Path) -> None:
    row = {"index": 3, "image_path": "a.png", "q": "Which?", "A": "x", "B": "y", "C": "", "gt": "B"}
    columns = {
        "id": "index", "image": "image_path", "question": "q", "answer": "gt",
        "choices": ["A", "B", "C"],
    }  # fmt: skip
    (sample,) = samples(write_lines(tmp_path, [row]), columns=columns)
    assert (sample.id, sample.choices, sample.target) == ("3", ("x", "y"), "B")


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "folder", "dict"])
def test_hugging_face_sources_give_the_same_samples(suffix: str, tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "video": "a.mp4", "question": "?", "A": "x", "B": "y", "answer": "AB"[n % 2]}
        for n in range(5)
    ]
    table = hf_datasets.Dataset.from_list(rows)
    path = tmp_path / f"q.{suffix}"
    if suffix == "parquet":
        table.to_parquet(path)
    elif suffix == "csv":
        table.to_csv(path)
    elif suffix == "dict":
        hf_datasets.DatasetDict({"test": table}).save_to_disk(path)
    else:
        table.save_to_disk(tmp_path / "saved")
        path = tmp_path / "saved"
        if suffix == "arrow":
            path = next(path.glob("*.arrow"))
    options: dict[str, Any] = {"columns": {"choices": ["A", "B"]}, "media_root": tmp_path}
    if suffix == "dict":
        options["split"] = "test"
    assert samples(path, **options) == samples(write_lines(tmp_path, rows), **options)


WRONG: dict[str, tuple[Any, str]] = {
    "no object": ([1], "expected an object"),
    "no question": ({"id": 1, "video": "a.mp4", "answer": "x"}, "column 'question': is missing"),
    "no media": ({"id": 1, "question": "?", "answer": "x"}, "needs 'image' or 'video' paths"),
    "a misspelt column of media": (
        {"id": 1, "vidio": "a.mp4", "question": "?", "answer": "x"},
        "not both; there are id, vidio, question, answer. Did you mean 'vidio'",
    ),
    "a misspelt column": (
        {"id": 1, "video": "a.mp4", "qestion": "?", "answer": "x"},
        "'question': is missing; there are id, video, qestion, answer. Did you mean 'qe",
    ),
    "no answer": ({"id": 1, "video": "a.mp4", "question": "?"}, "column 'answer': is missing"),
    "unknown letter": ({**CHOICE, "id": 9, "answer": "C"}, "'C' is neither one of .* A, B"),
    "two letters": ({**CHOICE, "id": 9, "answer": "AB"}, "'AB' is neither"),
    "a position": ({**CHOICE, "id": 9, "answer": 1}, "'1' is neither"),
    "options of no text": ({**CHOICE, "id": 9, "choices": "cat, dog"}, "column 'choices'.*list"),
    "an object as media": ({**CHOICE, "id": 9, "video": {"bytes": "…"}}, "column 'video'"),
    "a clip backwards": (
        {**CHOICE, "id": 9, "clip_start_s": 5, "clip_end_s": 5},
        "0 <= start < end",
    ),
    "a text as time": ({**CHOICE, "id": 9, "clip_start_s": "0:05"}, "column 'clip_start_s'"),
    "a taken id": (CHOICE, r"the id 'q1' is taken already, by .*q\.jsonl, line 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_row_is_refused_with_file_and_line(case: str, tmp_path: Path) -> None:
    row, message = WRONG[case]
    file = write_lines(tmp_path, [CHOICE, FREE, row])
    with pytest.raises(BenchmarkError, match=rf"q\.jsonl, line 3: .*{message}"):
        samples(file)


def test_a_message_names_the_column_as_the_file_does(tmp_path: Path) -> None:
    file = write_lines(tmp_path, [{**CHOICE, "vid": 5}])
    with pytest.raises(BenchmarkError, match=r"column 'vid'.*got 5"):
        samples(file, columns={"video": "vid"})


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    file = write_lines(tmp_path, [CHOICE])
    file.write_text(file.read_text() + '\n{"id": \n')
    with pytest.raises(BenchmarkError, match=r"line 3: it is not JSON.*got '\{\"id\":'"):
        samples(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": None}, "either 'file' or 'hub'"),
        ({"hub": "a/b", "split": "test"}, "either 'file' or 'hub'"),
        ({"file": None, "hub": "a/b"}, "'hub' needs a 'split'"),
        ({"config": "x"}, "'config' belongs to 'hub'"),
        ({"columns": {"vidoe": "x"}}, r"columns\.vidoe"),
        ({"limit": 3}, "limit: unknown key.*Allowed: file, hub"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=message):
        load(write_lines(tmp_path, []), **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.jsonl", "cannot be read"),
        ("absent.parquet", "cannot be loaded"),
        ("q.xlsx", "ends in '.xlsx'; allowed: .jsonl, .parquet"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=message):
        samples(tmp_path / name)


def test_an_absent_media_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="absent is not a folder"):
        samples(write_lines(tmp_path, [CHOICE]), media_root=tmp_path / "absent")


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    table = hf_datasets.Dataset.from_list([CHOICE])
    hf_datasets.DatasetDict({"test": table, "dev": table}).save_to_disk(tmp_path / "saved")
    with pytest.raises(BenchmarkError, match="holds the splits test, dev"):
        samples(tmp_path / "saved", split="train")


def test_our_own_folder_is_not_taken_for_hugging_faces_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("datasets"))
    with pytest.raises(BenchmarkError, match="pip install datasets"):
        samples(tmp_path / "q.parquet")


def test_options_are_scored_by_letter_and_free_answers_by_exact_match(tmp_path: Path) -> None:
    file = write_lines(tmp_path, [CHOICE, FREE])
    benchmark = load(file)
    choice, free = benchmark.samples()
    assert benchmark.score(choice, "It is the dog.").value == 1.0
    assert benchmark.score(free, "Seven.").value == 1.0
    assert "A. cat\nB. dog" in benchmark.prompt(choice)
