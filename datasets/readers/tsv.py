"""Read tab-separated tables with very long cells, as benchmarks with base64 images have."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.sample import BenchmarkError

_LONGEST_CELL = 2**31 - 1


def tsv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows: texts by column, with all columns in every row.

    Raises:
        BenchmarkError: the file cannot be read, or is truncated.
    """
    _require_last_newline(path)
    # Process-wide, for want of another way; the default of 128 KiB is less than a picture.
    csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", strict=True)
            for content in reader:
                place = f"{path}, line {reader.line_num}"
                if None in content or None in content.values():
                    columns = ", ".join(reader.fieldnames or ())
                    raise BenchmarkError(
                        f"{place}: this row has not one cell for each of the columns {columns}; "
                        f"the file is damaged or not wholly downloaded"
                    )
                yield Row(place=place, content=content)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchmarkError(
            f"{path} cannot be read as a table, so it is damaged or not wholly downloaded: {error}"
        ) from error


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
