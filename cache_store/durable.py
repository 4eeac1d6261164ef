"""Write files that are either complete or absent, on any filesystem with rename and hard links.

No locks: they may not work on NFS and Lustre. No host's clock: ages are differences between times
that the file server itself wrote.
"""

import errno
import os
import time
import uuid
from pathlib import Path

from encodeonce.cache_store.store import StoreError, StoreNotWritable

READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
READING = {"reading", "opening", "listing"}


def explain(error: OSError, doing: str, path: Path) -> StoreError:
    """Return the store's error for a failed system call, saying what the user can do.

    Args:
        error: what the system said.
        doing: what failed, e.g. ``"writing"``; what is in `READING` does not write.
        path: the file or folder.
    """
    kind: type[StoreError] = StoreError if doing in READING else StoreNotWritable
    if error.errno in FULL:
        hint = (
            "the disk or quota is full. Nothing of this call is visible to readers and what was "
            "committed before is whole. Free space (`encodeonce store gc --max-size …`) and "
            "repeat the command: it continues where it stopped"
        )
    elif error.errno in READ_ONLY and doing in READING:
        hint = "no permission to read this. Readers need read access to the whole store"
    elif error.errno in READ_ONLY:
        hint = "no permission to write here. Readers work; writers need write access to the store"
    elif error.errno in IN_THE_WAY:
        hint = "something is in the way of the store: remove it, or name another folder"
    else:
        hint = "repeat the command when the filesystem works again"
    return kind(f"{doing} {path}: {error.strerror or error}: {hint}")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # this filesystem does not sync folders
            raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``; a short write is repeated."""
    view = memoryview(data).cast("B")
    while view.nbytes:
        written = os.pwrite(descriptor, view, offset)
        offset += written
        view = view[written:]


def write_new(path: Path, data: bytes) -> None:
    """Write a file that did not exist, and sync it; after an error nothing is left of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write_all(descriptor, data, 0)
        os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def publish_first(data: bytes, path: Path, tmp: Path) -> bool:
    """Make ``path`` hold ``data`` unless it exists; say whether this call made it.

    ``tmp`` is a folder for the private copy, on the same filesystem. `os.link` is atomic on NFS
    too; when its reply is lost, the link count of our private file tells what happened.

    Raises:
        OSError: it cannot be written.
        StoreError: the filesystem has no hard links.
    """
    private = tmp / f"{uuid.uuid4().hex}.tmp"
    write_new(private, data)
    try:
        try:
            os.link(private, path)
            first = True
        except FileExistsError:
            first = private.stat().st_nlink == 2
        except OSError as error:
            if error.errno in NO_LINKS:
                raise StoreError(
                    f"{tmp} is on a filesystem without hard links, which commits need "
                    f"({error.strerror}): put the store elsewhere"
                ) from error
            raise
    finally:
        private.unlink(missing_ok=True)
    if first:
        sync_folder(path.parent)
    return first


def replace(data: bytes, path: Path, tmp: Path) -> None:
    """Make ``path`` hold ``data``, whatever it held; readers see the old or the new."""
    private = tmp / f"{uuid.uuid4().hex}.tmp"
    write_new(private, data)
    try:
        private.replace(path)
    except OSError:
        private.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def server_now_s(folder: Path) -> float:
    """Return the file server's time: that of a file just made in ``folder``.

    A host whose clock is an hour ahead must not take everybody's fresh files for old ones. Where
    nothing can be written, nothing will be removed for its age either, and this host's clock does.
    """
    probe = folder / f"{uuid.uuid4().hex}.clock"
    try:
        probe.touch(exist_ok=False)
    except OSError:
        return time.time()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
