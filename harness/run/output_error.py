"""Says in one sentence why a file of an output folder cannot be written."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from encodeonce.cache_store.durable import FULL, READ_ONLY

_IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}


class OutputError(ValueError):
    """An output file cannot be written: the disk is full, read-only, or something is in the way."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write an output file, or to make a folder, into our own error.

    Raises:
        OutputError: names what refused, why, and what to do.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"output: {refusal(path, error)}. What was written before is kept. {_remedy(error)}, "
            "and repeat the command: it goes on where it stopped"
        ) from error


def refusal(path: Path, error: OSError) -> str:
    """Return which file the system does not write, and why."""
    return f"{path} cannot be written: {error.strerror or error}"


def _remedy(error: OSError) -> str:
    if error.errno in FULL:
        return "The disk or quota is full: free space there"
    choose = "choose another folder (`--output FOLDER`, or `output` in the run file)"
    if error.errno in READ_ONLY:
        return f"Nothing may be written there: get write access, or {choose}"
    if error.errno in _IN_THE_WAY:
        return f"Something is in the way where a file or folder has to be: remove it, or {choose}"
    return choose[0].upper() + choose[1:]
