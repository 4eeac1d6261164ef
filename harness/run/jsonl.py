"""Append-only files of one JSON value per line, intact after any kill.

One process writes a file at a time (see `folder`). A line is written with one call and flushed;
what a killed writer left of its last line is cut off when the file is opened again.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class DamagedFile(ValueError):
    """A line in the middle of the file is not JSON, which no kill can cause."""


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
    """Yield the values of a file, none if it does not exist; a torn last line is left out.

    Raises:
        DamagedFile: a line other than the last is not JSON.
    """
    if not path.exists():
        return
    *lines, _torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise DamagedFile(f"{path}, line {number} is not JSON: {line[:80]!r}") from error
