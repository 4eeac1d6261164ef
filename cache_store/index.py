"""Index of one namespace in memory: the log replayed, starting from the newest snapshot."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from encodeonce.cache_store.layout import Namespace
from encodeonce.cache_store.log import (
    DamagedRecord,
    DamageRecord,
    DropRecord,
    Log,
    PackRecord,
    Record,
)
from encodeonce.cache_store.manifest import Manifest
from encodeonce.cache_store.recovery import adoptable, read_manifest
from encodeonce.cache_store.snapshot import PackInfo, Snapshot, read_snapshot, write_snapshot
from encodeonce.cache_store.unit_table import Place, UnitTable, unit_digest

logger = logging.getLogger(__name__)

MIN_RECORDS_A_SNAPSHOT = 256
MIN_UNITS_A_SNAPSHOT = 20_000
KEPT_MANIFEST_ROWS = 200_000


class NamespaceIndex:
    """Says which units of a signature are stored, where, and which are damaged.

    Rules of replay, in the order of the log: a unit of a committed pack is live unless it is live
    already; dropping a pack ends its units; damage ends the units it names. Threads may share it.
    """

    def __init__(
        self,
        namespace: Namespace,
        read: Callable[[Namespace], Snapshot | None] = read_snapshot,
    ) -> None:
        self.namespace = namespace
        self.log = Log(namespace)
        self.packs: list[PackInfo] = []
        self.damaged_records: list[int] = []
        """Records that cannot be read."""
        self.adopted: list[PackRecord] = []
        """In their place: records of the packs that no readable record speaks of."""
        self.tail = 0
        """Number of the last record that was applied."""
        self.lock = threading.RLock()
        self._numbers: dict[str, int] = {}
        self._adopted_numbers: set[int] = set()
        self._old = UnitTable.of([])
        """Units of the snapshot; `_hidden` are those of them that were found damaged since."""
        self._hidden: set[bytes] = set()
        self._new: dict[bytes, Place] = {}
        self._damaged: dict[bytes, Place] = {}
        self._manifests: dict[str, Manifest] = {}
        self._manifest_rows = 0
        self._snapshot_seq = 0
        self._load(read(namespace))

    def locate(self, digests: Sequence[bytes]) -> list[Place | None]:
        """Return where units are; None where they are not live. Reads no files."""
        with self.lock:
            old = [digest for digest in digests if digest not in self._new]
            found = dict(zip(old, self._old.find(old), strict=True))
            return [self._place(digest, found.get(digest)) for digest in digests]

    def locate_committed(self, digests: Sequence[bytes]) -> list[Place | None]:
        """Return where units are by the log alone: what a writer may rely on.

        An adopted pack may be that of a writer at work, who will throw it away if it loses.
        """
        places = self.locate(digests)
        return [None if p is None or p[0] in self._adopted_numbers else p for p in places]

    def is_damaged(self, digest: bytes) -> bool:
        """Say whether a unit was stored, was found damaged, and was not stored again."""
        with self.lock:
            place = self._damaged.get(digest)
            return place is not None and not self.packs[place[0]].dropped_at

    def num_damaged(self) -> int:
        """Return how many units are damaged and not stored again."""
        with self.lock:
            return sum(self.is_damaged(digest) for digest in self._damaged)

    def manifest(self, pack: int) -> Manifest:
        """Return what a pack contains, from its record, or from itself if that is damaged.

        Raises:
            CorruptFeatures: neither can be read.
        """
        info = self.packs[pack]
        with self.lock:
            manifest = self._manifests.get(info.pack)
        if manifest is None:
            manifest = read_manifest(self.log, self.namespace, info)
            with self.lock:
                self._keep_manifest(manifest)
        return manifest

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
            live = self._to_snapshot().live
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
        """Commit what ``make`` returns; it is asked again whenever something came in between.

        Returns the record, None when ``make`` returned None: there is nothing left to do.

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
        """Write a snapshot when replaying what came after the last one gets long."""
        with self.lock:
            # In proportion to what the snapshot holds: the cost of writing stays a few percent.
            many_records = max(MIN_RECORDS_A_SNAPSHOT, self._snapshot_seq // 32)
            many_units = max(MIN_UNITS_A_SNAPSHOT, len(self._old) // 16)
            is_due = self.tail - self._snapshot_seq >= many_records or len(self._new) >= many_units
            if is_due and not self.damaged_records:
                self.write_snapshot()

    def write_snapshot(self) -> None:
        """Write what is known now, for the next one who opens the store, where that is allowed."""
        with self.lock:
            snapshot = self._to_snapshot()
            try:
                write_snapshot(self.namespace, snapshot)
            except OSError as error:
                logger.info("no index snapshot written in %s: %s", self.namespace.folder, error)
            else:
                self._take(snapshot)

    @classmethod
    def replayed(cls, namespace: Namespace) -> "NamespaceIndex":
        """Return an index made from every record of the log, without a snapshot."""
        return cls(namespace, read=lambda namespace: None)

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
        self._old, self._new, self._hidden = snapshot.live, {}, set()
        self._damaged = dict(snapshot.damaged.rows())
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
        if not self.damaged_records:  # others have just been committing
            return
        for adopted in adoptable(self.namespace, self._numbers):
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
                self._mark_damaged(pack, digests)

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
        self._keep_manifest(manifest)
        digests = {unit_digest(media, unit): row for row, media, unit in manifest.rows()}
        places = self.locate(list(digests))
        for (digest, row), place in zip(digests.items(), places, strict=True):
            if place is None or place[0] in self._adopted_numbers:
                self._new[digest] = (number, row)
                self._damaged.pop(digest, None)

    def _drop(self, packs: Iterable[str]) -> None:
        for pack in packs:
            if pack in self._numbers:
                self.packs[self._numbers[pack]].dropped_at = self.tail

    def _mark_damaged(self, pack: str, digests: Sequence[bytes]) -> None:
        number = self._numbers.get(pack)
        for digest, place in zip(digests, self.locate(digests), strict=True):
            if place is not None and place[0] == number:
                self._new.pop(digest, None)
                self._hidden.add(digest)
                self._damaged[digest] = place

    def _place(self, digest: bytes, old_position: int | None) -> Place | None:
        place = self._new.get(digest)
        if place is None and old_position is not None and digest not in self._hidden:
            place = self._old.place(old_position)
        return None if place is None or self.packs[place[0]].dropped_at else place

    def _keep_manifest(self, manifest: Manifest) -> None:
        if manifest.pack not in self._manifests:
            self._manifests[manifest.pack] = manifest
            self._manifest_rows += manifest.num_rows
        while self._manifest_rows > KEPT_MANIFEST_ROWS and len(self._manifests) > 1:
            oldest = next(iter(self._manifests))
            self._manifest_rows -= self._manifests.pop(oldest).num_rows

    def _to_snapshot(self) -> Snapshot:
        dropped = np.array([bool(info.dropped_at) for info in self.packs] or [False])
        stay = ~dropped[self._old.pack]
        for position in self._old.find([*self._hidden, *self._new]):
            if position is not None:
                stay[position] = False
        new = [(digest, place) for digest, place in self._new.items() if not dropped[place[0]]]
        damaged = [(digest, p) for digest, p in self._damaged.items() if not dropped[p[0]]]
        return Snapshot(
            self.tail,
            tuple(self.packs),
            self._old.where(stay).merged(UnitTable.of(new)),
            UnitTable.of(damaged),
        )
