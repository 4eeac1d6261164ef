"""Tables with very long cells."""

from pathlib import Path

import pytest

from encodeonce.datasets.readers.tsv import tsv_rows
from encodeonce.datasets.sample import BenchmarkError


def test_cells_may_be_long_quoted_and_hold_line_breaks(tmp_path: Path) -> None:
    long = "x" * 300_000
    path = tmp_path / "t.tsv"
    path.write_text(f'\ufeffindex\tq\n1\t{long}\n2\t"two\nlines ""quoted"""\n', encoding="utf-8")
    first, second = tsv_rows(path)
    assert first.content == {"index": "1", "q": long}
    assert second.content["q"] == 'two\nlines "quoted"'
    assert second.place == f"{path}, line 4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: it is not wholly downloaded"),
        ("a\tb\n1\t2", "ends within a line: it is not wholly downloaded"),
        ("a\tb\n1\n", "line 2: this row has not one cell for each of the columns a, b"),
        ("a\tb\n1\t2\t3\n", "line 2: this row has not one cell for each"),
        ('a\tb\n1\t"2\n', "cannot be read as a table"),
    ],
)
def test_a_cut_or_damaged_table_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        list(tsv_rows(path))


def test_what_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    with pytest.raises(BenchmarkError, match="cannot be read"):
        list(tsv_rows(path))
    path.write_bytes(b"a\tb\n\xff\xfe\t1\n")
    with pytest.raises(BenchmarkError, match="cannot be read as a table"):
        list(tsv_rows(path))
