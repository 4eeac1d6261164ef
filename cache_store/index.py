"""Index one namespace in memory: replay its log, starting from the newest snapshot."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from encodeonce.cache_store.layout import Namespace
from encodeonce.cache_store.live_units import LiveUnits
from encodeonce.cache_store.log import (
    DamagedRecord,
    DamageRecord,
    DropRecord,
    Log,
    PackRecord,
    Record,
)
from encodeonce.cache_store.manifest import Manifest
from encodeonce.cache_store.recovery import Manifests, adoptable
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.snapshot import PackInfo, Snapshot, read_snapshot, write_snapshot
from encodeonce.cache_store.storage import Storage
from encodeonce.cache_store.unit_table import Place, unit_digest

logger = logging.getLogger(__name__)

MIN_RECORDS_A_SNAPSHOT = 256
MIN_UNITS_A_SNAPSHOT = 20_000


class NamespaceIndex:
    """Says which units of a signature are stored, where, and which are damaged.

    Rules of replay, in the order of the log: a unit of a committed pack is live unless it is live
    already; dropping a pack ends its units; damage ends the units it names. Threads may share it.
    """

    def __init__(
        self,
        namespace: Namespace,
        read: Callable[[Namespace], Snapshot | None] = read_snapshot,
        is_writer: bool = True,
        log: Log | None = None,
        storage: Storage | None = None,
    ) -> None:
        self.namespace = namespace
        self.storage = storage or Storage(namespace)
        self.log = log or Log(namespace)
        self.packs: list[PackInfo] = []
        self.damaged_records: list[int] = []
        """Numbers of the records that cannot be read."""
        self.adopted: list[PackRecord] = []
        """In their place: records of packs that no readable record mentions."""
        self.tail = 0
        """Number of the last record that was applied."""
        self.is_writer = is_writer
        """Whether anything may be written into the store."""
        self.lock = threading.RLock()
        self._numbers: dict[str, int] = {}
        self._adopted_numbers: set[int] = set()
        self._units = LiveUnits()
        self._manifests = Manifests(self.storage, self.log)
        self._snapshot_seq = 0
        self._load(read(namespace))

    def locate(self, digests: Sequence[bytes]) -> list[Place | None]:
        """Return where units are; None where they are not live. Reads no files."""
        with self.lock:
            return self._units.locate(digests)

    def look_up(self, keys: Sequence[FeatureKey]) -> list[Place | None]:
        """Return where units are; if some are not found, after reading what others committed.

        Raises:
            StoreError: the log cannot be read.
        """
        digests = [unit_digest(key.media, key.unit) for key in keys]
        places = self.locate(digests)
        if None in places:
            self.refresh()
            places = self.locate(digests)
        return places

    def locate_committed(self, digests: Sequence[bytes]) -> list[Place | None]:
        """Return where units are by the log alone, which is what a writer may rely on.

        An adopted pack may belong to a writer at work, who will discard it if another is faster.
        """
        places = self.locate(digests)
        return [None if p is None or p[0] in self._adopted_numbers else p for p in places]

    def is_damaged(self, digest: bytes) -> bool:
        """Say whether a unit was stored, was found damaged, and was not stored again."""
        with self.lock:
            return self._units.is_damaged(digest)

    def set_aside(self, pack: int, digests: Sequence[bytes]) -> None:
        """Take units of a pack for damaged, in this process alone."""
        with self.lock:
            self._units.mark_damaged(digests, pack)

    def num_damaged(self) -> int:
        """Return how many units are damaged and not stored again."""
        with self.lock:
            return self._units.num_damaged()

    def where(self, pack: int) -> str:
        """Return the address of a pack, for people."""
        return self.storage.where(self.packs[pack].pack)

    def manifest(self, pack: int) -> Manifest:
        """Return what a pack contains, from its record, or from itself if that is damaged.

        Raises:
            CorruptFeatures: neither can be read.
        """
        return self._manifests.read(self.packs[pack])

    def live_rows(self, pack: int) -> Iterator[tuple[int, str, str]]:
        """Iterate over (row, media, unit) of the rows of a pack that are live."""
        rows = list(self.manifest(pack).rows())
        places = self.locate([unit_digest(media, unit) for _, media, unit in rows])
        for (row, media, unit), place in zip(rows, places, strict=True):
            if place == (pack, row):
                yield row, media, unit

    def num_live(self) -> dict[int, int]:
        """Return how many live units each pack of the store has."""
        with self.lock:
            live = self._units.live_table()
            counts = np.bincount(live.pack, minlength=len(self.packs)).tolist()
            return {pack: counts[pack] for pack in self.live_packs()}

    def has_pack(self, pack: str) -> bool:
        """Say whether a pack was ever committed."""
        with self.lock:
            return pack in self._numbers

    def live_packs(self) -> list[int]:
        """Return the numbers of the packs that are part of the store."""
        with self.lock:
            return [i for i, info in enumerate(self.packs) if not info.dropped_at]

    def refresh(self) -> None:
        """Apply the records that were committed since the last time.

        Raises:
            StoreError: the log cannot be read.
        """
        with self.lock:
            while True:
                try:
                    record = self.log.read(self.tail + 1)
                except DamagedRecord:
                    self._recover(max(self.tail + 1, self.log.last()))
                    continue
                if record is None:
                    return
                self._apply(record)

    def commit(self, record: Record) -> bool:
        """Append ``record`` if nothing was committed since the last refresh.

        Returns False, having refreshed, when something was: look again before you repeat it.

        Raises:
            StoreError: the log cannot be read or written.
        """
        with self.lock:
            if self.log.append(record, self.tail + 1):
                self._apply(record)
                return True
            self.log.wait_for(self.tail + 1)
            self.refresh()
            return False

    def append(self, make: Callable[[], Record | None]) -> Record | None:
        """Commit what ``make`` returns; it is called again whenever something came in between.

        Returns the record; None when ``make`` returned None, since there is nothing left to do.

        Raises:
            StoreError: the log cannot be read or written.
        """
        with self.lock:
            self.refresh()
            while (record := make()) is not None:
                if self.commit(record):
                    return record
            return None

    def snapshot_if_due(self) -> None:
        """Write a snapshot once replaying what came after the last one takes long."""
        with self.lock:
            # In proportion to what the snapshot holds: writing stays a few percent of the work.
            many_records = max(MIN_RECORDS_A_SNAPSHOT, self._snapshot_seq // 32)
            many_units = max(MIN_UNITS_A_SNAPSHOT, self._units.num_in_table // 16)
            num_records, num_units = self.tail - self._snapshot_seq, self._units.num_recent
            is_due = num_records >= many_records or num_units >= many_units
            if is_due and self.is_writer and not self.damaged_records:
                self.write_snapshot()

    def write_snapshot(self) -> None:
        """Write a snapshot for whoever opens the store next, if writing is allowed."""
        with self.lock:
            live, damaged = self._units.live_table(), self._units.damaged_table()
            snapshot = Snapshot(self.tail, tuple(self.packs), live, damaged)
            try:
                write_snapshot(self.namespace, snapshot)
            except OSError as error:
                logger.info("no index snapshot written in %s: %s", self.namespace.folder, error)
            else:
                self._take(snapshot)

    @classmethod
    def replayed(cls, namespace: Namespace, **others: Any) -> "NamespaceIndex":
        """Return an index made from every record of the log, without a snapshot."""
        return cls(namespace, read=lambda namespace: None, **others)

    def _load(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self._take(snapshot)
        self.refresh()
        last = self.log.last()
        if last > self.tail:
            self._recover(last)
        self.snapshot_if_due()

    def _take(self, snapshot: Snapshot) -> None:
        self.packs = list(snapshot.packs)
        self._numbers = {info.pack: number for number, info in enumerate(self.packs)}
        dropped = [number for number, info in enumerate(self.packs) if info.dropped_at]
        self._units.restart(snapshot.live, snapshot.damaged, dropped)
        self.tail = self._snapshot_seq = snapshot.seq

    def _recover(self, last: int) -> None:
        """Apply the rest of the log, and in place of its unreadable records the packs on disk."""
        while self.tail < last:
            try:
                record = self.log.read(self.tail + 1)
            except DamagedRecord:
                record = None
            if record is not None:
                self._apply(record)
                continue
            self.tail += 1
            self.damaged_records.append(self.tail)
            logger.error(
                "commit record %s is damaged; going by what the packs say themselves. "
                "`encodeonce store verify` repairs it",
                self.namespace.record(self.tail),
            )
        if not self.damaged_records:  # others have just committed something
            return
        for adopted in adoptable(self.storage, self._numbers):
            self.adopted.append(adopted)
            self._adopted_numbers.add(len(self.packs))
            self._add(adopted)

    def _apply(self, record: Record) -> None:
        self.tail += 1
        match record:
            case PackRecord():
                self._drop((record.replaces,))
                self._add(record)
            case DropRecord(packs, _):
                self._drop(packs)
            case DamageRecord(pack, digests, _):
                self._units.mark_damaged(digests, self._numbers.get(pack))

    def _add(self, record: PackRecord) -> None:
        manifest = record.manifest
        if manifest.pack in self._numbers:
            self._adopted_numbers.discard(self._numbers[manifest.pack])
            return  # it was adopted just before its writer committed it
        number = len(self.packs)
        info = PackInfo(
            pack=manifest.pack,
            seq=self.tail,
            num_units=manifest.num_rows,
            file_bytes=record.file_bytes,
            raw_bytes=manifest.raw_bytes,
        )
        self.packs.append(info)
        self._numbers[info.pack] = number
        self._manifests.keep(manifest)
        rows = {unit_digest(media, unit): row for row, media, unit in manifest.rows()}
        self._units.add(rows, number, instead_of=self._adopted_numbers)

    def _drop(self, packs: Iterable[str]) -> None:
        for pack in packs:
            if pack in self._numbers:
                number = self._numbers[pack]
                self.packs[number].dropped_at = self.tail
                self._units.drop(number)
