"""Where the packs of one signature are, and when they were written, committed and last used.

Here that is a folder; `objects.storage` keeps them in object storage. All times are those of the
server that holds the files, so that the clocks of hosts do not matter.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encodeonce.cache_store.durable import replace, server_now_s
from encodeonce.cache_store.layout import Namespace
from encodeonce.cache_store.reading import PackFile
from encodeonce.cache_store.store import StoreError

logger = logging.getLogger(__name__)

USED_EVERY_S = 1800.0
"""A pack's last use is noted this often; gc's grace period is longer."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file or an object that is there."""

    num_bytes: int
    written_s: float
    """Seconds since 1970."""


class Storage:
    """The packs of one namespace, by their ids. Threads may share it."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace

    def where(self, pack: str) -> str:
        """Return a pack's address, for people."""
        return str(self.namespace.pack(pack))

    def open(self, pack: str) -> PackFile:
        """Open a pack.

        Raises:
            FileNotFoundError: there is none.
            OSError, StoreError: it cannot be opened.
        """
        return PackFile(self.namespace.pack(pack))

    @contextmanager
    def file(self, pack: str) -> Iterator[Path]:
        """Provide a whole pack as a file, for as long as the context lasts.

        Raises:
            FileNotFoundError, StoreError: it cannot be had.
        """
        yield self.namespace.pack(pack)

    def packs(self) -> dict[str, Stored]:
        """Return the packs that are there, committed or not, in order.

        Raises:
            OSError, StoreError: they cannot be listed.
        """
        found = {}
        for pack in self.namespace.stored_packs():
            try:
                there = self.namespace.pack(pack).stat()
            except FileNotFoundError:
                continue
            found[pack] = Stored(there.st_size, there.st_mtime)
        return found

    def publish(self, pack: str) -> None:
        """Bring a pack that was written here to where all users of the store can read it.

        Raises:
            StoreError: it cannot be written.
        """

    def remove(self, pack: str) -> None:
        """Remove a pack and the note of its last use, if they are there.

        Raises:
            OSError, StoreError: that is not allowed.
        """
        for path in (self.namespace.pack(pack), self.namespace.used(pack)):
            path.unlink(missing_ok=True)

    def note_use(self, packs: Iterable[str]) -> None:
        """Note that packs are in use.

        Raises:
            OSError, StoreError: that cannot be written.
        """
        # An empty file for each: access times would not do, most mounts do not keep them.
        for pack in packs:
            path = self.namespace.used(pack)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def last_uses(self, packs: Iterable[str]) -> dict[str, float]:
        """Return when packs were used last, at the earliest when they were written.

        Raises:
            StoreError: that cannot be known.
        """
        found: dict[str, float] = {}
        for pack in packs:
            for path in (self.namespace.pack(pack), self.namespace.used(pack)):
                try:
                    found[pack] = max(found.get(pack, 0.0), path.stat().st_mtime)
                except OSError:
                    continue
        return found

    def committed_s(self, seqs: Iterable[int]) -> dict[int, float]:
        """Return when records were committed, of those that are there.

        Raises:
            StoreError: that cannot be known.
        """
        found = {}
        for seq in seqs:
            try:
                found[seq] = self.namespace.record(seq).stat().st_mtime
            except OSError:
                continue
        return found

    def now_s(self) -> float:
        """Return the server's time."""
        return server_now_s(self.namespace.tmp)

    def read_signature(self) -> dict[str, object]:
        """Return the signature's fields.

        Raises:
            StoreError: they are missing, or not what the folder's name says.
        """
        return self.namespace.read_signature()

    def restore_signature(self, text: bytes) -> None:
        """Replace a damaged signature by its canonical JSON.

        Raises:
            OSError, StoreError: it cannot be written.
        """
        replace(text, self.namespace.signature_file, self.namespace.tmp)


class LastUse:
    """Notes the use of packs, seldom enough not to cost anything."""

    def __init__(self) -> None:
        self._noted_s: dict[str, float] = {}

    def mark(self, storage: Storage, packs: Iterable[str]) -> None:
        """Note that packs are in use, where that is allowed."""
        now_s = time.monotonic()
        due = [p for p in packs if now_s - self._noted_s.get(p, -USED_EVERY_S) >= USED_EVERY_S]
        if not due:
            return
        self._noted_s.update(dict.fromkeys(due, now_s))
        try:
            storage.note_use(due)
        except (OSError, StoreError) as error:
            logger.debug("last use not written: %s", error)
