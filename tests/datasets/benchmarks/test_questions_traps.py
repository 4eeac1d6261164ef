"""Question files that would silently mean something else, or end in a traceback."""

import json
from pathlib import Path

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import BenchmarkError

ROW = {"id": "a", "video": "v.mp4", "question": "?", "answer": "A"}
GOOD = json.dumps(ROW)


def read(folder: Path, text: str, name: str = "q.jsonl") -> list[str]:
    (folder / name).write_text(text, encoding="utf-8")
    options = {"file": str(folder / name), "media_root": str(folder)}
    return [sample.id for sample in load_benchmark("questions", options).samples()]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("}", ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"), "nested more than"),
        (GOOD.replace("}", ', "x": ' + "[" * 100_000), "nested more than"),
        (GOOD.replace('"A"', "NaN"), "NaN is not JSON; write null, or a text in quotes"),
        (GOOD.replace('"a"', "1" * 10_000), "a number of thousands of digits; write it in quotes"),
        (GOOD.replace("}", ', "answer": "B"}'), "the key 'answer' is there twice"),
        (GOOD[:30], "it is not JSON"),
        ("[1]", "expected an object of columns, got [1]"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        read(tmp_path, f"{GOOD}\n{line}\n")
    assert f"{tmp_path / 'q.jsonl'}, line 2: " in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, f"\ufeff{GOOD}\n") == ["a"]
    assert read(tmp_path, f"\ufeff\n{GOOD}\n") == ["a"]


def test_files_and_folders_may_be_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    read(tmp_path, GOOD + "\n")
    for home in ("~", "$HOME", "${HOME}"):
        options = {"file": f"{home}/q.jsonl", "media_root": home}
        assert len(list(load_benchmark("questions", options).samples())) == 1


@pytest.mark.parametrize("name", ["file", "media_root"])
def test_an_empty_path_is_refused(tmp_path: Path, name: str) -> None:
    options = {"file": str(tmp_path / "q.jsonl"), "media_root": str(tmp_path), name: ""}
    with pytest.raises(BenchmarkError, match=f"{name}: the path is empty"):
        load_benchmark("questions", options)
