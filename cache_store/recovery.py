"""What is lost in the log is found in the packs: each carries its own manifest."""

import logging
from collections.abc import Container

from encodeonce.cache_store.layout import Namespace
from encodeonce.cache_store.log import DamagedRecord, Log, PackRecord
from encodeonce.cache_store.manifest import Manifest
from encodeonce.cache_store.pack import read_embedded_manifest, record_of_file
from encodeonce.cache_store.snapshot import PackInfo
from encodeonce.cache_store.store import CorruptFeatures

logger = logging.getLogger(__name__)


def adoptable(namespace: Namespace, known: Container[str]) -> list[PackRecord]:
    """Return records for the whole packs on disk whose ids are not in ``known``.

    What a lost record committed is among them. One that was never committed at all is as good:
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


def read_manifest(log: Log, namespace: Namespace, info: PackInfo) -> Manifest:
    """Return what a pack contains, from its record, or from itself if that is damaged.

    Raises:
        CorruptFeatures: neither can be read.
    """
    try:
        record = log.read(info.seq)
        if isinstance(record, PackRecord) and record.manifest.pack == info.pack:
            return record.manifest
    except DamagedRecord as error:
        logger.error("%s; going by the pack itself", error)
    path = namespace.pack(info.pack)
    try:
        return read_embedded_manifest(path)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CorruptFeatures(
            f"neither {namespace.record(info.seq)} nor {path} says what the pack contains "
            f"({error}): run `encodeonce store verify`"
        ) from error
