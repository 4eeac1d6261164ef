"""Cells of questions files are the texts that stand there, whatever holds them."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import BenchmarkError, Sample

hf_datasets = importlib.import_module("datasets")

HEADER = "id,video,question,A,B,C,D,answer\n"
OPTIONS = ("A", "B", "C", "D")
ODD = [
    *("None", "N/A", "NA", "null", "NULL", "nan", "NaN", "n/a", "<NA>", "#N/A", "-nan", "1.#IND"),
    *("007", "0.10", "1e5", "3", "3.0", "-0", "1_000", "0x10", "True", "FALSE", "2020-01-01"),
    *("+3", "3%", " padded ", "inf", "1,000", "99999999999999999999"),
]


def quoted(cells: Sequence[str], delimiter: str = ",") -> str:
    return delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"


def samples(path: Path, **options: Any) -> list[Sample]:
    options = {"columns": {"choices": OPTIONS}, "media_root": path.parent, **options}
    return list(load_benchmark("questions", {"file": path, **options}).samples())


def text_table(folder: Path, rows: Sequence[Mapping[str, str]], kind: str) -> Path:
    """Write rows of texts, all with the same keys, as ``kind``."""
    path = folder / f"q.{kind}"
    if kind in ("csv", "tsv"):
        delimiter = "," if kind == "csv" else "\t"
        lines = [quoted([*row.values()], delimiter) for row in ({k: k for k in rows[0]}, *rows)]
        path.write_text("".join(lines), encoding="utf-8-sig")
    else:
        table = hf_datasets.Dataset.from_list(list(rows))
        table.to_json(path) if kind == "jsonl" else table.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_words_and_numbers_are_read_as_they_stand(kind: str, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"{number:03}", "video": "007.mp4", "question": odd,
            "A": "x", "B": odd, "C": "y", "D": "z", "answer": "C",
        }
        for number, odd in enumerate(ODD)
    ]  # fmt: skip
    for sample, row in zip(samples(text_table(tmp_path, rows, kind)), rows, strict=True):
        assert (sample.id, sample.question) == (row["id"], row["question"])
        assert sample.choices == (row["A"], row["B"], row["C"], row["D"])
        assert (sample.target, sample.media[0].path) == ("C", "007.mp4")


def test_free_answers_of_a_csv_are_read_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    lines = "".join(quoted([str(n), "a.png", "?", odd]) for n, odd in enumerate(ODD))
    path.write_text("id,image,question,answer\n" + lines)
    assert [sample.target for sample in samples(path, columns={})] == ODD


def test_the_last_options_may_be_empty_and_the_file_end_without_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(HEADER + "01,v.mp4,How many?,1,2,,,B\n02,v.mp4,How many?,1,2,3, ,C")
    assert [sample.choices for sample in samples(path)] == [("1", "2"), ("1", "2", "3")]


@pytest.mark.parametrize(
    ("row", "name", "behind"),
    [
        ("1,v.mp4,?,6,,0,4,C\n", "B", "D"),
        ("1,v.mp4,?,,3,2,6,B\n", "A", "D"),
        ("1,v.mp4,?,6,7,  ,4,A\n", "C", "D"),
        ("1,v.mp4,?,,2,,,B\n", "A", "B"),
    ],
)
def test_an_empty_option_before_others_is_refused(
    row: str, name: str, behind: str, tmp_path: Path
) -> None:
    path = tmp_path / "q.csv"
    path.write_text(HEADER + row)
    with pytest.raises(BenchmarkError, match=rf"line 2: column '{name}'.*empty.*'{behind}' behind"):
        samples(path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("nothing", [None, ""])
def test_a_gap_is_refused_in_every_format(kind: str, nothing: str | None, tmp_path: Path) -> None:
    row = {"id": "1", "video": "v.mp4", "question": "?", "A": "x", "C": "y", "D": "z"}
    table = hf_datasets.Dataset.from_list([{**row, "B": "w"}, {**row, "B": nothing}])
    table = table.add_column("answer", ["C", "C"])
    path = tmp_path / f"q.{kind}"
    table.to_json(path) if kind == "jsonl" else table.to_parquet(path)
    with pytest.raises(BenchmarkError, match=r"q\.\w+, (line|row) 2: column 'B'"):
        samples(path)


@pytest.mark.parametrize("option", ["null", '""', '" "', "NaN", "true"])
def test_a_listed_option_that_is_no_text_is_refused(option: str, tmp_path: Path) -> None:
    where = "NaN is not JSON" if option == "NaN" else r"column 'choices'\[1\]"
    path = tmp_path / "q.jsonl"
    start = '{"id": 1, "video": "v.mp4", "question": "?", "answer": "C", "choices": ["a", '
    path.write_text(f'{start}{option}, "c"]}}\n')
    with pytest.raises(BenchmarkError, match=f"line 1: {where}"):
        samples(path, columns={})


def test_numbers_of_json_keep_their_spelling(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"id": 1, "video": "v.mp4", "clip_start_s": 0.50, "question": "?", "answer": 0.10, '
        '"choices": [0.10, 1e5, 3.0, 3], "tags": {"t": 2.50}}\n'
    )
    (sample,) = samples(path, columns={})
    assert (sample.choices, sample.target) == (("0.10", "1e5", "3.0", "3"), "A")
    assert (sample.media[0].clip_s, sample.tags) == ((0.5, float("inf")), {"t": "2.50"})


def test_a_column_of_whole_numbers_with_an_empty_cell_keeps_them_whole(tmp_path: Path) -> None:
    rows = [
        {"id": n, "video": "v.mp4", "question": "?", "A": 1, "B": 2.5, "D": None, "answer": "B"}
        for n in range(2)
    ]
    table = hf_datasets.Dataset.from_list(rows).add_column("C", [3.0, float("nan")])
    table.to_parquet(tmp_path / "q.parquet")
    assert [sample.choices for sample in samples(tmp_path / "q.parquet")] == [
        ("1", "2.5", "3"),
        ("1", "2.5"),
    ]


def test_classes_are_their_names(tmp_path: Path) -> None:
    rows = {"id": [1], "video": ["v.mp4"], "question": ["?"], "answer": [1]}
    rows |= {name: [f"option {name}"] for name in OPTIONS}
    table = hf_datasets.Dataset.from_dict(rows)
    table = table.cast_column("answer", hf_datasets.ClassLabel(names=["C", "D"]))
    table.to_parquet(tmp_path / "q.parquet")
    assert samples(tmp_path / "q.parquet")[0].target == "D"


def test_a_csv_of_the_hub_is_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "test.csv").write_text(HEADER + "007,v.mp4,?,None,0.10,1e5,,A\n")
    options = {"hub": str(tmp_path / "hub"), "split": "test[:1]", "media_root": tmp_path}
    benchmark = load_benchmark("questions", {**options, "columns": {"choices": OPTIONS}})
    (sample,) = benchmark.samples()
    assert (sample.id, sample.choices) == ("007", ("None", "0.10", "1e5"))


def test_clip_times_of_a_csv_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    header = "id,video,clip_start_s,clip_end_s,question,answer\n"
    path.write_text(header + "1,v.mp4,0.50,2,?,x\n2,v.mp4,,1e1,?,x\n3,v.mp4,,,?,x\n")
    clips = [sample.media[0].clip_s for sample in samples(path, columns={})]
    assert clips == [(0.5, 2.0), (0.0, 10.0), None]
    path.write_text(header + "1,v.mp4,0:05,2,?,x\n")
    with pytest.raises(BenchmarkError, match=r"line 2: column 'clip_start_s'.*got '0:05'"):
        samples(path, columns={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,v.mp4,Why, then?,a,b,c,d,A\n", "line 2: .*not one cell for each.*a comma in it lacks"),
        ("1,v.mp4,?,a,b\n", "line 2: this row has not one cell for each of the columns id, video"),
        ('1,v.mp4,?,"a" x,b,c,d,A\n', "cannot be read as a table.*after line 1"),
    ],
)
def test_a_row_of_another_length_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(HEADER + text)
    with pytest.raises(BenchmarkError, match=message):
        samples(path)


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("id,video,question,A,A,answer\n1,v.mp4,?,x,y,A\n")
    with pytest.raises(BenchmarkError, match="line 1: there are several columns 'A'"):
        samples(path)


CASES = [
    ("none-first", "None,3,2,6,B", ("None", "3", "2", "6"), "B"),
    ("na-mid", "6,N/A,0,4,C", ("6", "N/A", "0", "4"), "C"),
    ("null-last", "0,3,6,null,A", ("0", "3", "6", "null"), "A"),
    ("right-is-none", "None,3,2,6,A", ("None", "3", "2", "6"), "A"),
]


def test_the_letters_stay_with_their_options(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(HEADER + "".join(f"{name},v.mp4,?,{cells}\n" for name, cells, *_ in CASES))
    found = [(sample.id, sample.choices, sample.target) for sample in samples(path)]
    assert found == [(name, choices, target) for name, _, choices, target in CASES]


def test_an_answer_that_is_a_letter_and_another_options_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    groups = "1,v.mp4,Which blood group?,AB,A,O,B,"
    path.write_text(HEADER + groups + "A\n")
    with pytest.raises(BenchmarkError, match=r"'A' is both a letter and the text of option B.*\("):
        samples(path)
    for answer, target in {"(A)": "A", "(B)": "B", "O": "C", "D": "D", "AB": "A"}.items():
        path.write_text(HEADER + groups + answer + "\n")
        assert samples(path)[0].target == target
    path.write_text(HEADER + "1,v.mp4,Which?,A,B,C,D,B\n")
    assert samples(path)[0].target == "B"
