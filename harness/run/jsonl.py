"""Append-only files of one JSON value per line, intact after any kill.

One process writes a file at a time (see `folder`). The operating system has a line at once; what a
killed writer left of its last line is cut off when the file is opened again.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

from encodeonce.datasets.strict_json import parse_json
from encodeonce.harness.run.output_error import writing

Value = TypeVar("Value")


_BLOCK_BYTES = 64 * 1024


class DamagedFile(ValueError):
    """A line is not what was written there, which no kill can cause."""


class JsonLinesWriter:
    """Appends values to a file. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open a file, and cut off what a killed writer left of its last line.

        Raises:
            OutputError: it cannot be opened for writing.
        """
        self._path = path
        with writing(path):
            self._file = path.open("a+b", buffering=0)
            self._size = _end_of_whole_lines(self._file)
            self._file.truncate(self._size)

    def write(self, value: Any) -> None:
        """Append one value; the operating system has it when this returns.

        Raises:
            OutputError: it cannot be written, and nothing of it is left in the file.
        """
        # Lone surrogates (of file names that are not UTF-8) become JSON's own escapes.
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
        line = memoryview(text + b"\n")
        with writing(self._path):
            try:
                left = line
                while left:
                    left = left[self._file.write(left) :]
            except OSError:
                self._file.truncate(self._size)
                raise
        self._size += len(line)

    def close(self) -> None:
        """Force everything to the disk and close.

        Raises:
            OutputError: the disk refuses.
        """
        with self._file, writing(self._path):
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _end_of_whole_lines(file: BinaryIO | FileIO) -> int:
    """Return where the last line feed of a file ends, reading from its end."""
    left = file.seek(0, os.SEEK_END)
    while left:
        start = max(0, left - _BLOCK_BYTES)
        file.seek(start)
        block = file.read(left - start)
        assert block is not None  # the file blocks
        if (found := block.rfind(b"\n")) >= 0:
            return start + found + 1
        left = start
    return 0


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file without their ends, one in memory at a time.

    Raises:
        DamagedFile: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]
    except FileNotFoundError:
        return
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}") from error


def read_json_lines(path: Path) -> Iterator[Any]:
    """Yield the values of a file; see `read_lines`."""
    return read_lines(path, lambda value: value)


def read_lines(
    path: Path, read: Callable[[Any], Value], quick: Callable[[bytes], Value] | None = None
) -> Iterator[Value]:
    """Yield what ``read`` makes of each line's value; a torn last line is left out.

    Args:
        path: of the file; one that does not exist has no lines.
        read: raises ValueError for a value that does not belong there.
        quick: makes the same of a line's bytes, sooner; raises ValueError where it cannot, and
            ``read`` decides.

    Raises:
        DamagedFile: the file cannot be read, a line other than the last is not JSON, or ``read``
            refuses its value.
    """
    for number, line in enumerate(_whole_lines(path), start=1):
        if quick is not None:
            try:
                found = quick(line)
            except ValueError:
                pass
            else:
                yield found
                continue
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
