"""Fill in texts with ``{{column}}`` in them: the part of Jinja that is plain substitution.

``{{column}}`` and, for a column that holds a list, ``{{column[0]}}``. Nothing is evaluated.
"""

import re
from collections.abc import Mapping
from typing import Any

from encodeonce.datasets.prompts import lettered
from encodeonce.datasets.sample import BenchmarkError

_ANY = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_COLUMN = re.compile(r"\{\{-?\s*([^\W\d]\w*)\s*(?:\[(\d+)\])?\s*-?\}\}")


def columns_of(template: str, columns: list[str]) -> list[str]:
    """Return the columns that a template, or a column's bare name, reads.

    Raises:
        BenchmarkError: it asks for a column that is missing, or for anything but a column.
    """
    if template in columns:
        return [template]
    names = []
    for part in _ANY.findall(template):
        match = _COLUMN.fullmatch(part)
        if match is None:
            raise BenchmarkError(
                f"{part!r} is not evaluated; allowed are {{{{column}}}} and {{{{column[0]}}}}"
            )
        names.append(match[1])
    if unknown := [name for name in names if name not in columns]:
        raise BenchmarkError(
            f"there is no column {', '.join(map(repr, unknown))}; there are: {', '.join(columns)}"
        )
    return names


def fill(template: str, row: Mapping[str, Any]) -> str:
    """Return a template filled in from a row; for a bare column's name, that column.

    A whole list becomes lines with letters, ``A. red``, since it will be one of options.

    Raises:
        BenchmarkError: a list has no such element.
    """
    if template in row:
        return _text(row[template])

    def value(match: re.Match[str]) -> str:
        found = row[match[1]]
        if match[2] is None:
            return _text(found)
        position = int(match[2])
        if not isinstance(found, list) or position >= len(found):
            raise BenchmarkError(f"{match[0]}: column {match[1]!r} holds {found!r:.80}")
        return str(found[position])

    return _COLUMN.sub(value, template)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(lettered([str(item) for item in value]))
    return str(value)
