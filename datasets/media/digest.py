"""Digests of files, each file read once."""

import hashlib
import os
import time
from pathlib import Path

from encodeonce.datasets.media.ledger import Ledger

SETTLED_S = 2.0
"""A digest is remembered only if the file has not been modified for this long.

Within one tick of the filesystem's clock a file can change twice and keep its size and time.
"""


class FileChanged(OSError):
    """The file was written to while it was read."""


def file_sha256(path: Path, ledger: Ledger) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal.

    The ledger recognises a file by its path, size, inode, and times of modification and change;
    the latter is the system's own, which ``touch`` and ``cp --preserve`` cannot set.

    Raises:
        FileChanged: the file is being written to.
        OSError: the file cannot be read.
    """
    before = path.stat()
    known = ledger.get(_key(path, before))
    if isinstance(known, str):
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if _key(path, before) != _key(path, after):
        raise FileChanged(f"{path} changed while it was read; wait until it is complete")
    if time.time() - max(after.st_mtime, after.st_ctime) > SETTLED_S:
        ledger.put(_key(path, after), digest)
    return digest


def _key(path: Path, status: os.stat_result) -> tuple[str | int, ...]:
    times_ns = (status.st_mtime_ns, status.st_ctime_ns)
    return ("sha256", str(path), status.st_size, *times_ns, status.st_ino)
