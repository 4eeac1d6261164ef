"""Says in one sentence why a file of an output folder cannot be written; locks the folder."""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from encodeonce.cache_store.durable import FULL, IN_THE_WAY, READ_ONLY


class OutputError(ValueError):
    """An output file cannot be written: the disk is full, read-only, or something is in the way."""

    def __init__(self, path: Path, error: OSError) -> None:
        """Describe what the system refuses, and what to do about it."""
        self.refusal = f"{path} cannot be written: {error.strerror or error}"
        super().__init__(
            f"output: {self.refusal}. What was written before is kept. {_remedy(error)}, and "
            "repeat the command: it goes on where it stopped"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write an output file, or to make a folder, into our own error.

    Raises:
        OutputError: names what refused, why, and what to do.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(path, error) from error


def lock(folder: Path, refusal: type[ValueError]) -> TextIO:
    """Lock an existing folder until the file that is returned is closed.

    The lock is the operating system's, so a killed process leaves none behind.

    Args:
        folder: of the output.
        refusal: is raised where another process holds the lock.

    Raises:
        OutputError: the lock's file cannot be written.
    """
    path = folder / ".lock"
    with ExitStack() as opened, writing(path):
        file = opened.enter_context(path.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal(
                f"output: another encodeonce process is writing to {folder}; wait for it, "
                "or choose another output folder"
            ) from error
        opened.pop_all()
    return file


def _remedy(error: OSError) -> str:
    if error.errno in FULL:
        return "The disk or quota is full: free space there"
    choose = "choose another folder (`--output FOLDER`, or `output` in the run file)"
    if error.errno in READ_ONLY:
        return f"Nothing may be written there: get write access, or {choose}"
    if error.errno in IN_THE_WAY:
        return f"Something is in the way where a file or folder has to be: remove it, or {choose}"
    return choose[0].upper() + choose[1:]
