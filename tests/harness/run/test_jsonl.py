"""Append-only files survive a writer killed in the middle of a line."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from encodeonce.harness.run.jsonl import DamagedFile, JsonLinesWriter, read_json_lines
from encodeonce.harness.run.output_error import OutputError


def test_lines_come_back_in_order_over_several_writers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for number in range(3):
        with JsonLinesWriter(path) as file:
            file.write({"number": number, "text": "ä\n|"})
    assert [line["number"] for line in read_json_lines(path)] == [0, 1, 2]


def test_a_torn_last_line_is_left_out_and_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"number": 0}\n{"numb')
    assert list(read_json_lines(path)) == [{"number": 0}]
    with JsonLinesWriter(path) as file:
        file.write({"number": 1})
    assert list(read_json_lines(path)) == [{"number": 0}, {"number": 1}]


def test_a_value_is_readable_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with JsonLinesWriter(path) as file:
        file.write(1)
        assert list(read_json_lines(path)) == [1]


def test_a_line_for_which_there_is_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on the size of files makes a real write fail in the middle of a line."""
    path = tmp_path / "a.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with JsonLinesWriter(path) as file:
        file.write("first")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        try:
            for _ in range(2):
                with pytest.raises(OutputError, match=r"a\.jsonl cannot be written.*free space"):
                    file.write("x" * 40)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == b'"first"\n'
        file.write("second")
    assert list(read_json_lines(path)) == ["first", "second"]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path)])
def test_a_file_that_cannot_be_opened_is_named(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a.jsonl")
    with pytest.raises(OutputError, match=r"output: .*/a\.jsonl cannot be written: "):
        JsonLinesWriter(tmp_path / "a.jsonl")


def test_damage_in_the_middle_is_an_error_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"number": 0}\nnot json\n{"number": 2}\n')
    with pytest.raises(DamagedFile, match="line 2"):
        list(read_json_lines(path))


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(read_json_lines(tmp_path / "absent")) == []
