"""Read tables of text, CSV and TSV: every cell is the text that stands there.

Nothing is guessed: ``None``, ``N/A`` and ``null`` are words, ``007`` keeps its zeros and ``1e5``
its spelling. Cells may be very long, as in benchmarks with base64 images.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.sample import BenchmarkError

_LONGEST_CELL = 2**31 - 1


def tsv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a downloaded TSV: texts by column, with all columns in every row.

    Raises:
        BenchmarkError: the file cannot be read, or is truncated.
    """
    _require_last_newline(path)
    yield from text_rows(path, "\t")


def text_rows(path: Path, delimiter: str) -> Iterator[Row]:
    """Yield the rows of a table: texts by column, with all columns in every row.

    Raises:
        BenchmarkError: the file cannot be read, two columns have one name, or a row has another
            number of cells than there are columns; names the line.
    """
    # Process-wide, for want of another way; the default of 128 KiB is less than a picture.
    csv.field_size_limit(_LONGEST_CELL)
    last = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            _require_one_of_each(path, reader.fieldnames or ())
            last = reader.line_num
            for content in reader:
                last = reader.line_num
                place = f"{path}, line {last}"
                if None in content or None in content.values():
                    columns = ", ".join(reader.fieldnames or ())
                    raise BenchmarkError(
                        f"{place}: this row has not one cell for each of the columns {columns}; "
                        f"the file is damaged or not wholly downloaded, or a text with a "
                        f"{_NAMES[delimiter]} in it lacks its quotation marks"
                    )
                yield Row(place=place, content=content)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchmarkError(
            f"{path} cannot be read as a table, so it is damaged or not wholly downloaded: "
            f"after line {last}: {error}"
        ) from error


_NAMES = {",": "comma", "\t": "tab"}


def _require_one_of_each(path: Path, columns: Sequence[str]) -> None:
    """Refuse columns of one name, of which only the last would be read."""
    if twice := [name for name, times in Counter(columns).items() if times > 1 and name]:
        raise BenchmarkError(
            f"{path}, line 1: there are several columns {', '.join(map(repr, twice))}; give every "
            f"column a name of its own"
        )


def _require_last_newline(path: Path) -> None:
    """Refuse a file that ends within a line: a picture in its last cell would be cut off."""
    try:
        with path.open("rb") as file:
            is_empty = file.seek(0, os.SEEK_END) == 0
            if not is_empty:
                file.seek(-1, os.SEEK_END)
            last = file.read(1)
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error}") from error
    if last != b"\n":
        raise BenchmarkError(
            f"{path} {'is empty' if is_empty else 'ends within a line'}: it is not wholly "
            f"downloaded. Download it again; if it was written by hand, end it with a newline"
        )
