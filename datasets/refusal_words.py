"""Our own words for what pydantic finds wrong: not one of its sentences reaches a user."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

_SHOWN = 80
"""Characters of a value that messages repeat."""

_KEYS = "must be a mapping of keys"
_NUMBER, _WHOLE = "must be a number", "must be a whole number"
_TEXT = "must be a text (in quotes, if it looks like a number)"

_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "invalid_key": "must be a text, as every key",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": _TEXT,
    "string_sub_type": _TEXT,
    "string_unicode": "must be a text without half characters (\\ud800 to \\udfff)",
    "path_type": "must be a path",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "iterable_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": _KEYS,
    "model_attributes_type": _KEYS,
    "dataclass_type": _KEYS,
    "dataclass_exact_type": _KEYS,
    "none_required": "must be null",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "extra_forbidden": "unknown key",
    "unexpected_keyword_argument": "unknown key",
}
_OURS = ("value_error", "assertion_error")
"""Raised by our own validators: the words are ours already."""


def reason(problem: Any, allowed: str = "") -> str:
    """Return what is wrong, without the place and the value.

    Args:
        problem: one of a ValidationError's ``errors()``.
        allowed: what may stand there, in a few words; used where no words are known for the kind of
            problem.
    """
    kind, details = problem["type"], problem.get("ctx", {})
    if kind in _OURS:
        return str(details["error"])
    if kind == "string_too_short" and details["min_length"] == 1:
        return "must not be empty"
    if kind in _WORDS:
        return _WORDS[kind].format_map(_Readable(details))
    return f"must be {allowed}" if allowed and allowed != "any value" else "is not allowed"


def told(error: BaseException) -> str:
    """Return an exception's message; a ValidationError's in our words.

    A last resort: what users wrote is refused by `refusals.checked`, which knows what is allowed.
    """
    if not isinstance(error, ValidationError):
        return str(error)
    lines = (
        f"{'.'.join(map(str, problem['loc']))}: {reason(problem)}{got_beside('', problem)}"
        for problem in error.errors()
    )
    return "; ".join(line.removeprefix(": ") for line in lines)


def suggestion(got: str, allowed: Sequence[str]) -> str:
    """Return a question that names what was probably meant; empty if nothing is close."""
    close = difflib.get_close_matches(got, allowed, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown_key(key: str, allowed: Sequence[str], choice: str = "") -> str:
    """Return the words for a key that does not belong there.

    Args:
        key: as it was written.
        allowed: the keys that do.
        choice: for which kind of section, where there are several.
    """
    keys = ", ".join(allowed) or "none"
    return f"unknown key{choice}. Allowed: {keys}.{suggestion(key, allowed)}"


def closest(problem: Any) -> str:
    """Return which of the allowed words was probably meant."""
    details = problem.get("ctx", {})
    words = [word for word in str(details.get("expected", "")).split("'")[1::2] if word.strip()]
    hint = suggestion(str(problem["input"]), words)
    return f".{hint}" if hint else ""


def got(value: Any) -> str:
    """Return the value as a message's last words; nothing for a section, which is long."""
    if isinstance(value, Mapping | BaseModel):
        return ""
    word = {True: "true", False: "false", None: "null"}.get(value) if _is_word(value) else None
    text = repr(value) if word is None else word
    return f"; got {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"


def got_beside(words: str, problem: Any) -> str:
    """Return what was got, unless ``words`` say it already, or nothing was."""
    value = problem["input"]
    if problem["type"] == "missing":
        return ""
    if problem["type"] in _OURS:
        is_said = "got " in words or isinstance(value, list | tuple) or str(value) in words
        return "" if is_said else got(value)
    return "; got a mapping" if isinstance(value, Mapping) else got(value)


class _Readable(dict[str, Any]):
    """The details of a problem, numbers without a needless ``.0``."""

    def __missing__(self, name: str) -> str:
        return "something else"

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return f"{value:g}" if isinstance(value, float) else value


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)
