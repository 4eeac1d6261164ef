"""The driver's record of what has ended: one JSON line for each outcome.

A repeated run reads it and does the rest. Nothing in it depends on how many workers there were.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from encodeonce.harness.jsonl import JsonLinesWriter, read_json_lines
from encodeonce.jobs.queue import ItemError, Outcome, Status, WorkItem

_VERSION = 1


class JournalError(ValueError):
    """The file is not a journal, or belongs to a run with another configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a journal says."""

    fingerprint: str | None
    """Digest of the configuration it was written under; None if nothing is written yet."""
    outcomes: dict[str, Outcome]
    """Last outcome of each item."""


def read(path: Path) -> History:
    """Read the journal at ``path``; one that is missing, empty or torn at once is empty.

    Raises:
        JournalError: the file is something else.
        DamagedFile: another line than the last is not JSON.
    """
    lines = list(read_json_lines(path))
    if not lines:
        return History(fingerprint=None, outcomes={})
    try:
        header, *entries = lines
        if header["journal"] != _VERSION:
            raise JournalError(f"{path}: journal version {header['journal']}; known: {_VERSION}")
        outcomes = {entry["item"]: _outcome(entry) for entry in entries}
        return History(fingerprint=header["fingerprint"], outcomes=outcomes)
    except (KeyError, TypeError) as error:
        raise JournalError(
            f"{path} is not a journal of outcomes ({error!r}). Give the run another output folder"
        ) from error


def _outcome(entry: dict[str, Any]) -> Outcome:
    error = entry["error"]
    return Outcome(**{**entry, "error": None if error is None else ItemError(**error)})


class Journal:
    """A journal open for writing. Use as a context manager.

    One process writes at a time, which the run folder's lock sees to.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        """Continue or begin the journal at ``path``; a line torn by a kill is cut off.

        Raises:
            JournalError: it is not a journal, or not this configuration's.
            DamagedFile: another line than the last is not JSON.
        """
        self.history = read(path)
        found = self.history.fingerprint
        if found not in (None, fingerprint):
            raise JournalError(
                f"{path} belongs to a run with another configuration: its fingerprint is {found}, "
                f"this run's is {fingerprint}. Resume with the configuration it was begun with, "
                "or give this one another output folder"
            )
        self._lines = JsonLinesWriter(path)
        if found is None:
            self._lines.write({"journal": _VERSION, "fingerprint": fingerprint})

    def remaining(
        self, items: Iterable[WorkItem], again: Collection[Status] = ()
    ) -> list[WorkItem]:
        """Return the items to do: those that had no outcome, or a status that is in ``again``."""
        outcomes = self.history.outcomes
        return [
            item for item in items if item.id not in outcomes or outcomes[item.id].status in again
        ]

    def append(self, outcome: Outcome) -> None:
        """Write one outcome; a kill of this process cannot take it back."""
        self._lines.write(asdict(outcome))

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Force everything to the disk and close."""
        self._lines.close()
