"""Read a JSON file that holds one object, e.g. questions by their ids."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encodeonce.datasets.sample import BenchmarkError


def json_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        BenchmarkError: the file cannot be read, is truncated, holds something else, or repeats a
            key: JSON readers silently keep the last.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, not JSON, or a key twice
        raise BenchmarkError(
            f"{path} cannot be read as JSON, so it is damaged or not wholly downloaded: {error}"
        ) from error
    if not isinstance(content, dict):
        raise BenchmarkError(f"{path}: expected an object, got {type(content).__name__}")
    return content


def _unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found
