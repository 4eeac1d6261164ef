"""Parse JSON, and say in one sentence what is wrong with it.

`json.loads` alone answers bad text in four ways: with a position but no text, with a RecursionError
(deep nesting), with advice on Python's settings (a number of thousands of digits), or not at all
(``NaN``, which is not JSON; a key given twice, of which the last wins).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MAX_DEPTH = 100
"""Brackets within brackets: more than any data has, and less than Python's own limits, which differ
between versions."""

_SHOWN = 60
"""Characters of a text that messages repeat."""


class JsonError(ValueError):
    """The text is not JSON that can be used; says what is wrong in it, not where it is from."""


def parse_json(
    text: str | bytes,
    *,
    unique_keys: bool = False,
    allow_nan: bool = False,
    parse_float: Callable[[str], float] = float,
) -> Any:
    """Return the value of a JSON text. A byte-order mark before it is ignored.

    Args:
        text: UTF-8 if it is bytes.
        unique_keys: refuse an object that gives a key twice.
        allow_nan: accept ``NaN`` and ``Infinity``, which Python writes though JSON lacks them.
        parse_float: makes a number of one that is written with a point or an exponent.

    Raises:
        JsonError: it is no JSON, or nested more than `MAX_DEPTH` deep.
    """
    text = _decoded(text).removeprefix("\ufeff")
    if not text.strip():
        raise JsonError("it is empty")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys if unique_keys else None,
            parse_constant=None if allow_nan else _no_constant,
            parse_float=None if parse_float is float else parse_float,  # None is the fast way
        )
    except json.JSONDecodeError as error:
        raise JsonError(f"it is not JSON: {error.msg} at {_place(error)}") from error
    except RecursionError as error:
        raise _too_deep() from error
    except JsonError:
        raise
    except ValueError as error:  # Python's limit on the digits of a number
        raise JsonError(
            "it has a number of thousands of digits; write it in quotes, as a text"
        ) from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise _too_deep()
    return value


def read_json(path: Path, *, unique_keys: bool = False, allow_nan: bool = False) -> Any:
    """Return the value of a JSON file; see `parse_json`.

    Raises:
        JsonError: the file cannot be read, or is not JSON; names the file.
    """
    try:
        return parse_json(path.read_bytes(), unique_keys=unique_keys, allow_nan=allow_nan)
    except OSError as error:
        raise JsonError(f"{path} cannot be read: {error.strerror or error}") from error
    except JsonError as error:
        raise JsonError(f"{path}: {error}") from error


def _decoded(text: str | bytes) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise JsonError(
            f"it is not UTF-8: byte {error.start + 1} is {text[error.start]:#04x}"
        ) from error


def _place(error: json.JSONDecodeError) -> str:
    """Say where a text goes wrong, and what stands there."""
    line = f"line {error.lineno}, " if "\n" in error.doc.strip() else ""
    rest = error.doc[error.pos : error.pos + _SHOWN]
    got = repr(rest) if rest.strip() else "the end"
    return f"{line}column {error.colno}, got {got}"


def _no_constant(name: str) -> None:
    raise JsonError(f"{name} is not JSON; write null, or a text in quotes")


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise JsonError(f"the key {twice!r} is there twice; keep one")
    return found


def _depth(value: Any) -> int:
    """Return how deep a value is nested, without recursion."""
    depth, level = 0, [value]
    while level := [inner for one in level for inner in _inside(one)]:
        depth += 1
    return depth


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values()) or [None]
    return (value or [None]) if isinstance(value, list) else ()


def _too_deep() -> JsonError:
    return JsonError(f"brackets are nested more than {MAX_DEPTH} deep; flatten it")
