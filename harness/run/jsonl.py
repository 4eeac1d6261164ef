"""Append-only files of one JSON value per line, intact after any kill.

One process writes a file at a time (see `folder`). A line is written with one call and flushed;
what a killed writer left of its last line is cut off when the file is opened again.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from encodeonce.datasets.strict_json import parse_json

Value = TypeVar("Value")


class DamagedFile(ValueError):
    """A line is not what was written there, which no kill can cause."""


class JsonLinesWriter:
    """Appends values to a file. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        self._file.seek(0)
        whole = self._file.read().rpartition(b"\n")
        self._file.truncate(len(whole[0]) + len(whole[1]))

    def write(self, value: Any) -> None:
        """Append one value; the operating system has it when this returns."""
        # Lone surrogates (of file names that are not UTF-8) become JSON's own escapes.
        line = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
        self._file.write(line + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Force everything to the disk and close."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_json_lines(path: Path) -> Iterator[Any]:
    """Yield the values of a file; see `read_lines`."""
    return read_lines(path, lambda value: value)


def read_lines(path: Path, read: Callable[[Any], Value]) -> Iterator[Value]:
    """Yield what ``read`` makes of each line's value; a torn last line is left out.

    Args:
        path: of the file; one that does not exist has no lines.
        read: raises ValueError for a value that does not belong there.

    Raises:
        DamagedFile: the file cannot be read, a line other than the last is not JSON, or ``read``
            refuses its value.
    """
    try:
        *lines, _torn = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(lines, start=1):
        try:
            value = read(parse_json(line, allow_nan=True))
        except ValueError as error:
            got = line[:80].decode(errors="replace") + ("…" if len(line) > 80 else "")
            raise DamagedFile(
                f"{path}, line {number} is damaged: {error}; got {got!r}. Delete this line (type: "
                f"sed -i {number}d {shlex.quote(str(path))}); what it said is computed again when "
                "the command is repeated"
            ) from error
        yield value
