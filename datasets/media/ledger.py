"""An append-only file of facts that cost time to find out: digests of files, probes of videos.

One JSON object a line, ``{"key": [...], "value": ...}``. Any number of processes append to one
file and read what the others wrote; losing the file costs time and nothing else.
"""

import json
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Key = Sequence[str | int]


class Ledger:
    """A map from keys to JSON values that outlives the process.

    A line is one ``write`` to a file opened with ``O_APPEND``, so lines of several processes do
    not mix; a line torn by a crash is skipped by readers and closed off by the next writer.
    """

    def __init__(self, path: Path | None, also: Sequence[Path] = ()) -> None:
        """Open a ledger.

        Args:
            path: of its file; with None it remembers within this process only.
            also: other ledgers' files, which are read once and never written.
        """
        self._path = path
        self._also = list(also)
        self._lock = threading.Lock()
        self._values: dict[str, Any] = {}
        self._read_bytes = 0

    def get(self, key: Key) -> Any | None:
        """Return the value last written under ``key`` by any process, or None."""
        text = _key_text(key)
        with self._lock:
            if text not in self._values:
                self._read_others()
                self._read_new_lines()
            return self._values.get(text)

    def put(self, key: Key, value: Any) -> None:
        """Remember ``value``, which must be JSON and not None, under ``key``.

        Where the file cannot be written this is logged once, and the value is remembered within
        the process.
        """
        line = json.dumps({"key": list(key), "value": value}, separators=(",", ":"))
        with self._lock:
            self._values[_key_text(key)] = value
            self._append(line.encode("utf-8") + b"\n")

    def _append(self, line: bytes) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, line if _ends_with_newline(descriptor) else b"\n" + line)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._give_up("written", error)

    def _read_others(self) -> None:
        while self._also:
            other = Ledger(self._also.pop())
            other._read_new_lines()
            self._values = {**other._values, **self._values}

    def _read_new_lines(self) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                text = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            self._give_up("read", error)
            return
        # What follows the last newline may still be on its way: it is read again next time.
        whole = text[: text.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.splitlines():
            entry = _parse(line)
            if entry is not None:
                self._values[_key_text(entry["key"])] = entry["value"]

    def _give_up(self, verb: str, error: OSError) -> None:
        logger.warning(
            "%s cannot be %s (%s): digests and probes of media will not be remembered",
            *(self._path, verb, error),
        )
        self._path = None


def _key_text(key: Key) -> str:
    return json.dumps(list(key), separators=(",", ":"))


def _ends_with_newline(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the entry of a line, None for a line that was torn or is not ours."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if isinstance(entry, dict) and isinstance(entry.get("key"), list) and "value" in entry:
        return entry
    return None
