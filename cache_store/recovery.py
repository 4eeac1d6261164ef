"""Find in the packs what is lost in the log: each pack carries its own manifest."""

import logging
import threading
from collections.abc import Container

from encodeonce.cache_store.layout import Namespace
from encodeonce.cache_store.log import DamagedRecord, Log, PackRecord
from encodeonce.cache_store.manifest import Manifest
from encodeonce.cache_store.pack import read_embedded_manifest, record_of_file
from encodeonce.cache_store.snapshot import PackInfo
from encodeonce.cache_store.store import CorruptFeatures

logger = logging.getLogger(__name__)

KEPT_ROWS = 200_000


def adoptable(namespace: Namespace, known: Container[str]) -> list[PackRecord]:
    """Return records for the whole packs on disk whose ids are not in ``known``.

    The packs that lost records committed are among them. One that was never committed is as good:
    it is whole, and every chunk of it is verified when it is read.
    """
    records = []
    for pack in namespace.stored_packs():
        if pack not in known:
            try:
                records.append(record_of_file(namespace.pack(pack)))
            except (OSError, KeyError, ValueError, TypeError) as error:
                logger.warning("%s is not a whole pack: %s", namespace.pack(pack), error)
    return records


class Manifests:
    """What a namespace's packs contain; the latest are kept in memory. Threads may share it."""

    def __init__(self, namespace: Namespace, log: Log) -> None:
        self._namespace = namespace
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
        path = self._namespace.pack(info.pack)
        try:
            return read_embedded_manifest(path)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise CorruptFeatures(
                f"neither {self._namespace.record(info.seq)} nor {path} says what the pack "
                f"contains ({error}): run `encodeonce store verify`"
            ) from error
