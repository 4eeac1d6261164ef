"""Puts entries into packs: what is not stored yet, committed or not written at all."""

import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from encodeonce.cache_store.codec import ChunkCodec
from encodeonce.cache_store.commit import commit_pack
from encodeonce.cache_store.encoding import Pending, encode_pack
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.pack import write_pack
from encodeonce.cache_store.parallel import Threads
from encodeonce.cache_store.store import Entry, StoreCounters
from encodeonce.cache_store.unit_table import Place, unit_digest

MarkUsed = Callable[[NamespaceIndex, Iterable[Place | None]], None]


class PackWriter:
    """Writes packs for one store. Threads may share it."""

    def __init__(
        self,
        codec: ChunkCodec,
        threads: Threads,
        counters: StoreCounters,
        lock: threading.Lock,
        mark_used: MarkUsed,
    ) -> None:
        """Make a writer.

        Args:
            codec: how lossless features are written.
            threads: these compress.
            counters: of the store, changed under ``lock``.
            lock: guards the counters.
            mark_used: notes that packs are in use.
        """
        self._codec = codec
        self._threads = threads
        self._counters = counters
        self._lock = lock
        self._mark_used = mark_used

    def put(self, index: NamespaceIndex, batch: Sequence[Entry]) -> None:
        """Commit the units of a batch that are not stored, as one pack.

        Raises:
            StoreError: the store cannot be written.
        """
        index.refresh()
        num_units = sum(len(entry.units) for entry in batch)
        while pending := self._absent(index, batch):
            manifest, frames = encode_pack(
                uuid.uuid4().hex, pending, self._codec, self._threads.map
            )
            record = write_pack(index.namespace, manifest, frames)
            index.storage.publish(manifest.pack)
            is_still = partial(self._is_still, index, batch, pending)
            if commit_pack(index, record, is_still):
                with self._lock:
                    self._counters.written += manifest.num_rows
                    self._counters.skipped += num_units - manifest.num_rows
                    self._counters.bytes_written += manifest.raw_bytes
                    self._counters.bytes_stored += record.file_bytes
                return
        with self._lock:
            self._counters.skipped += num_units

    def _is_still(
        self, index: NamespaceIndex, batch: Sequence[Entry], pending: Sequence[Pending]
    ) -> bool:
        now = self._absent(index, batch)
        return [(id(p.entry), p.rows) for p in now] == [(id(p.entry), p.rows) for p in pending]

    def _absent(self, index: NamespaceIndex, batch: Sequence[Entry]) -> list[Pending]:
        """Return the part of a batch that is not stored; a unit that is in it twice counts once."""
        absent, seen = [], set()
        for entry in batch:
            digests = [unit_digest(entry.media, unit) for unit in entry.units]
            places = index.locate_committed(digests)
            self._mark_used(index, places)
            rows = [
                row
                for row, (digest, place) in enumerate(zip(digests, places, strict=True))
                if place is None and digest not in seen
            ]
            seen.update(digests)
            if rows:
                absent.append(Pending(entry, tuple(rows)))
        return absent
