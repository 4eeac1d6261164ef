"""Cells of questions files as the texts that people wrote into them."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Self

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class WrittenFloat(float):
    """A number of a JSON file, with its spelling: ``0.10`` and ``1e5``."""

    written: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse a number; for ``parse_float``."""
        number = cls(text)
        number.written = text
        return number


def as_text(value: Any) -> Any:
    """Return a number as the text that was written, as far as that is known; else ``value``.

    A typed table does not keep it. There, whole numbers are floating-point ones only because the
    column has empty cells.
    """
    if isinstance(value, WrittenFloat):
        return value.written
    if isinstance(value, float) and not math.isnan(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return str(value) if is_number else value


def as_number(cell: Any) -> Any:
    """Return the number that a text is; anything else as it is."""
    is_number = isinstance(cell, str) and _NUMBER.fullmatch(cell.strip())
    return float(cell) if is_number else cell


def is_empty(cell: Any) -> bool:
    """Return whether there is nothing in a cell: no value, blanks, or pandas' NaN."""
    is_blank = isinstance(cell, str) and not cell.strip()
    return cell is None or is_blank or (isinstance(cell, float) and math.isnan(cell))


def options(content: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    """Return the options of a row with a column for each, up to the last that is not empty.

    Raises:
        ValueError: one before it is empty: without it, the letters behind would name others.
    """
    filled = [column for column in columns if not is_empty(content.get(column))]
    if gaps := [column for column in columns[: len(filled)] if column not in filled]:
        raise ValueError(
            f"column {gaps[0]!r}, an option, is empty, and {filled[-1]!r} behind it is not; fill "
            f"it, or move the options up so that only the last columns are empty"
        )
    return [content[column] for column in columns[: len(filled)]]
