"""Read a JSON file that holds one object, e.g. questions by their ids."""

from pathlib import Path
from typing import Any

from encodeonce.datasets.sample import BenchmarkError
from encodeonce.datasets.strict_json import JsonError, parse_json


def json_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        BenchmarkError: the file cannot be read, is truncated, holds something else, or repeats a
            key: JSON readers silently keep the last.
    """
    try:
        content = parse_json(path.read_bytes(), unique_keys=True, allow_nan=True)
    except (OSError, JsonError) as error:
        raise BenchmarkError(
            f"{path} cannot be read as JSON, so it is damaged or not wholly downloaded: {error}"
        ) from error
    if not isinstance(content, dict):
        raise BenchmarkError(f"{path}: expected an object, got {type(content).__name__}")
    return content
