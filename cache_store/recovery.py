"""Find in the packs what is lost in the log: each pack carries its own manifest."""

import logging
import threading
from collections.abc import Container

from encodeonce.cache_store.log import DamagedRecord, Log, PackRecord
from encodeonce.cache_store.manifest import Manifest
from encodeonce.cache_store.pack import read_embedded_manifest, record_of_file
from encodeonce.cache_store.snapshot import PackInfo
from encodeonce.cache_store.storage import Storage
from encodeonce.cache_store.store import CorruptFeatures

logger = logging.getLogger(__name__)

KEPT_ROWS = 200_000


def adoptable(storage: Storage, known: Container[str]) -> list[PackRecord]:
    """Return records for the whole packs that are stored whose ids are not in ``known``.

    The packs that lost records committed are among them. One that was never committed is as good:
    it is whole, and every chunk of it is verified when it is read.

    Raises:
        StoreError: a pack cannot be had, which says nothing about its being whole.
    """
    records = []
    for pack in storage.packs():
        if pack not in known:
            try:
                with storage.file(pack) as path:
                    records.append(record_of_file(path))
            except (OSError, KeyError, ValueError, TypeError) as error:
                logger.warning("%s is not a whole pack: %s", storage.where(pack), error)
    return records


class Manifests:
    """What a namespace's packs contain; the latest are kept in memory. Threads may share it."""

    def __init__(self, storage: Storage, log: Log) -> None:
        self._storage = storage
        self._log = log
        self._kept: dict[str, Manifest] = {}
        self._num_rows = 0
        self._lock = threading.Lock()

    def keep(self, manifest: Manifest) -> None:
        """Keep a manifest in memory, and let go of the oldest beyond `KEPT_ROWS`."""
        with self._lock:
            if manifest.pack not in self._kept:
                self._kept[manifest.pack] = manifest
                self._num_rows += manifest.num_rows
            while self._num_rows > KEPT_ROWS and len(self._kept) > 1:
                oldest = next(iter(self._kept))
                self._num_rows -= self._kept.pop(oldest).num_rows

    def read(self, info: PackInfo) -> Manifest:
        """Return what a pack contains, from its record, or from itself if that is damaged.

        Raises:
            CorruptFeatures: neither can be read.
        """
        with self._lock:
            manifest = self._kept.get(info.pack)
        if manifest is None:
            manifest = self._from_record(info) or self._from_pack(info)
            self.keep(manifest)
        return manifest

    def _from_record(self, info: PackInfo) -> Manifest | None:
        try:
            record = self._log.read(info.seq)
        except DamagedRecord as error:
            logger.error("%s; going by the pack itself", error)
            return None
        if isinstance(record, PackRecord) and record.manifest.pack == info.pack:
            return record.manifest
        return None

    def _from_pack(self, info: PackInfo) -> Manifest:
        try:
            with self._storage.file(info.pack) as path:
                return read_embedded_manifest(path)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise CorruptFeatures(
                f"neither record {info.seq} of the log nor {self._storage.where(info.pack)} says "
                f"what the pack contains ({error}): run `encodeonce store verify`"
            ) from error
