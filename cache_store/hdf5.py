"""The feature store on disk: immutable HDF5 packs of zstd chunks, and a commit log.

`FORMAT.md` describes the files. Any number of processes on any number of hosts may read and write
one store; there is no server, and nothing is locked.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from encodeonce.cache_store.codec import find_chunk_codec
from encodeonce.cache_store.commit import corrupt, quarantine
from encodeonce.cache_store.durable import explain
from encodeonce.cache_store.encoding import check_entry, cut_batches
from encodeonce.cache_store.features import Features
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import DIGEST
from encodeonce.cache_store.lossy import find_lossy
from encodeonce.cache_store.manifest import Table
from encodeonce.cache_store.parallel import Threads
from encodeonce.cache_store.reading import (
    ArrayRead,
    ChunkReader,
    Failure,
    PackFile,
    PackFiles,
    allocate,
)
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.storage import LastUse
from encodeonce.cache_store.store import (
    Entry,
    MissingFeatures,
    StoreCounters,
    StoreNotWritable,
    check_one_media,
)
from encodeonce.cache_store.unit_table import Place, unit_digest
from encodeonce.cache_store.writing import PackWriter

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class _Located:
    """A unit asked for and where it is."""

    key: FeatureKey
    pack: int
    table: Table
    row: int
    """Row in the table."""


class Hdf5Store:
    """The `FeatureStore` protocol over a folder. Threads may share one object.

    Args:
        root: folder of the store; made by the first `put`.
        codec: how lossless features are written, ``"zstd"`` or ``"raw"``. Both can be read,
            whatever this says. A lossy codec is chosen by `Signature.codec` alone.
        num_threads: threads that compress and decompress.
        read_only: write nothing, not even that packs are in use or that units are damaged.
        home: where packs and log are, if not in ``root``; ``read_only`` is the home's then.
    """

    def __init__(
        self,
        root: Path | str,
        codec: str = "zstd",
        num_threads: int | None = None,
        read_only: bool = False,
        home: Home | None = None,
    ):
        self.counters = StoreCounters()
        self._home = home or Home(Path(root), read_only)
        self.folder = self._home.folder
        self._threads = Threads(num_threads or min(4, os.cpu_count() or 1))
        self._indexes: dict[str, NamespaceIndex] = {}
        self._files = PackFiles()
        self._reader = ChunkReader()
        self._last_use = LastUse()
        self._lock = threading.Lock()
        self._writer = PackWriter(
            find_chunk_codec(codec), self._threads, self.counters, self._lock, self._mark_used
        )

    def __contains__(self, key: FeatureKey) -> bool:
        """Say whether a unit is committed. Reads the index, never a pack."""
        return self.contains_all([key])[0]

    def contains_all(self, keys: Sequence[FeatureKey]) -> list[bool]:
        """Say for each key whether it is committed; thousands at once are cheap."""
        present = [False] * len(keys)
        by_signature: dict[str, list[int]] = {}
        for position, key in enumerate(keys):
            by_signature.setdefault(key.signature, []).append(position)
        for signature, positions in by_signature.items():
            index = self.index(signature)
            if index is None:
                continue
            index.refresh()
            asked = [keys[position] for position in positions]
            places = index.locate([unit_digest(key.media, key.unit) for key in asked])
            for position, place in zip(positions, places, strict=True):
                present[position] = place is not None
        return present

    def get(self, keys: Sequence[FeatureKey], out: Mapping[str, Array] | None = None) -> Features:
        """Return the units of ``keys`` stacked in their order; all of one media item and signature.

        Args:
            keys: at least one.
            out: buffers to read into, by array name: C-contiguous, of the arrays' dtype and
                (at least U, ...) shape. Fresh memory costs as much as the copy into it; pinned
                memory saves another copy. The features returned are views of them.

        Raises:
            MissingFeatures: some are absent; names all of them.
            CorruptFeatures: stored bytes are damaged, or a pack has vanished. Nothing is returned;
                the damage is written into the store, so that those units are encoded again.
            StoreError: the store cannot be read.
            ValueError: the keys are of several media items, the units differ in shape, or a buffer
                does not fit.
        """
        check_one_media(keys)
        index = self.index(keys[0].signature)
        places = [None] * len(keys) if index is None else index.look_up(keys)
        if index is None or None in places:
            self._raise_missing(keys, places)
        located = [
            _Located(key, place[0], *index.manifest(place[0]).find_row(place[1]))
            for key, place in zip(keys, places, strict=True)
            if place is not None
        ]
        arrays = allocate([unit.table for unit in located], out)
        packs = {unit.pack: index.packs[unit.pack].pack for unit in located}
        files = self._files.open_all(packs, index.storage.open)
        if len(files) < len(packs):
            index.refresh()
            if index.look_up(keys) != places:  # collected meanwhile: look again
                return self.get(keys, out)
        failures = _vanished(located, files) or self._read(index, located, files, arrays)
        if failures:
            self._raise_damage(index, located, failures)
        self._mark_used(index, places)
        features = Features(arrays)
        with self._lock:
            self.counters.hits += len(keys)
            self.counters.bytes_read += features.nbytes
        return features

    def put(self, entries: Sequence[Entry]) -> None:
        """Commit entries; all of them are durable and whole when this returns.

        Units that are stored already are skipped. The entries of one call share packs, so give many
        small ones at once.

        Raises:
            StoreError: the store cannot be written (disk full, read-only, …). Units of packs that
                were finished before are committed; put the same entries again to continue.
            ValueError: an entry cannot be stored.
        """
        if self._home.read_only:
            raise StoreNotWritable(f"{self.folder.root} was opened to be read only")
        by_signature: dict[str, list[Entry]] = {}
        for entry in entries:
            check_entry(entry)
            if entry.units:
                by_signature.setdefault(entry.signature.digest, []).append(entry)
        for group in by_signature.values():
            self._home.create_namespace(group[0].signature)
            index = self.index(group[0].signature.digest)
            assert index is not None  # its folder has just been made
            for batch in cut_batches(group):
                self._writer.put(index, batch)
            index.snapshot_if_due()

    def keys(self) -> Iterator[FeatureKey]:
        """Iterate over the committed units."""
        for digest in self._home.signatures():
            index = self.index(digest)
            if index is None:
                continue
            index.refresh()
            for pack in index.live_packs():
                for _, media, unit in index.live_rows(pack):
                    yield FeatureKey(media, digest, unit)

    def index(self, signature: str) -> NamespaceIndex | None:
        """Return the index of a signature's features; None while there are none."""
        with self._lock:
            index = self._indexes.get(signature)
            if index is None and DIGEST.fullmatch(signature):
                index = self._home.open_index(signature)
                if index is not None:
                    self._indexes[signature] = index
            return index

    def close(self) -> None:
        """End the threads. The store can still be used: they are started again."""
        self._threads.close()

    def _raise_missing(
        self, keys: Sequence[FeatureKey], places: Sequence[Place | None]
    ) -> NoReturn:
        missing = [key for key, place in zip(keys, places, strict=True) if place is None]
        with self._lock:
            self.counters.misses += len(missing)
        raise MissingFeatures(missing)

    def _read(
        self,
        index: NamespaceIndex,
        located: Sequence[_Located],
        files: Mapping[int, PackFile],
        arrays: Mapping[str, Array],
    ) -> list[Failure]:
        """Fill the arrays; return what could not be read."""
        lossy = find_lossy(index.manifest(located[0].pack).codec)
        files = self._ahead(index, located, files)
        work = [
            ArrayRead(
                position, files[unit.pack], layout, unit.row, arrays[layout.name][position, ...]
            )
            for position, unit in enumerate(located)
            for layout in unit.table.arrays
        ]
        try:
            results = self._threads.map(lambda item: self._reader.read(item, lossy), work)
        except OSError as error:
            raise explain(error, "reading", index.namespace.folder) from error
        return [failure for failure in results if failure is not None]

    def _ahead(
        self, index: NamespaceIndex, located: Sequence[_Located], files: Mapping[int, PackFile]
    ) -> dict[int, PackFile]:
        """Return the files, told what will be read of each: far away, a few large reads do it."""
        ranges: dict[int, list[tuple[int, int]]] = {pack: [] for pack in files}
        for unit in located:
            for layout in unit.table.arrays:
                for part in layout.parts:
                    offset, size, _ = part.chunks[unit.row].item()
                    ranges[unit.pack].append((offset, offset + size))
        try:
            return {pack: file.ahead(ranges[pack]) for pack, file in files.items()}
        except OSError as error:
            raise explain(error, "reading", index.namespace.folder) from error

    def _raise_damage(
        self, index: NamespaceIndex, located: Sequence[_Located], failures: Sequence[Failure]
    ) -> NoReturn:
        """Write the damage into the log, so that no reader gets it, and raise."""
        by_pack: dict[int, dict[bytes, str]] = {}
        for failure in failures:
            unit = located[failure.position]
            digest = unit_digest(unit.key.media, unit.key.unit)
            by_pack.setdefault(unit.pack, {})[digest] = failure.reason
        for pack, reasons in by_pack.items():
            with self._lock:
                self.counters.damaged += len(reasons)
            self._files.forget(index.packs[pack].pack)
            quarantine(index, pack, reasons)
        first = next(iter(by_pack))
        raise corrupt(index, first, by_pack[first])

    def _mark_used(self, index: NamespaceIndex, places: Iterable[Place | None]) -> None:
        if self._home.read_only:
            return
        packs = {place[0] for place in places if place is not None}
        self._last_use.mark(index.storage, [index.packs[pack].pack for pack in packs])


def _vanished(located: Sequence[_Located], files: Mapping[int, PackFile]) -> list[Failure]:
    """Return a failure for each unit whose pack has no file."""
    return [
        Failure(position, "its file has vanished")
        for position, unit in enumerate(located)
        if unit.pack not in files
    ]
