"""Append to the log what a store has done or found: a pack written, units that are damaged.

Others may append at the same moment; both look again after whatever came in between.
"""

import logging
from collections.abc import Callable, Mapping

from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.log import DamageRecord, PackRecord
from encodeonce.cache_store.store import CorruptFeatures, StoreError

logger = logging.getLogger(__name__)


def commit_pack(index: NamespaceIndex, record: PackRecord, is_wanted: Callable[[], bool]) -> bool:
    """Commit ``record`` as long as its pack is wanted; say whether it is committed.

    A pack that is no longer wanted is removed. After an error it stays: its record may have
    reached the log all the same, and otherwise ``gc`` removes it a day later.

    Args:
        index: the namespace's, refreshed.
        record: of a pack that is in its place.
        is_wanted: called again whenever others have committed something.

    Raises:
        StoreError: the log cannot be read or written.
    """
    pack = record.manifest.pack
    with index.lock:  # between the question and the commit no other thread commits either
        while is_wanted():
            # `has_pack` covers a link whose success the network lost.
            if index.commit(record) or index.has_pack(pack):
                return True
    index.storage.remove(pack)
    return False


def quarantine(index: NamespaceIndex, pack: int, reasons: Mapping[bytes, str]) -> None:
    """Mark units of a pack as damaged, in this process alone where the store is only read.

    If nothing can be written, that is logged.

    The pack stays where it is: its other units are good, and are verified on every read.

    Args:
        index: the namespace's.
        pack: number of the pack.
        reasons: what is wrong, by digest of the unit.
    """
    reason = next(iter(reasons.values()))
    if not index.is_writer:
        index.set_aside(pack, tuple(reasons))
        told = len(reasons), index.where(pack), reason
        logger.error("%d unit(s) of %s, which is only read, set aside: %s", *told)
        return
    record = DamageRecord(index.packs[pack].pack, tuple(reasons), reason)
    try:
        index.append(lambda: record)
    except StoreError as error:
        logger.error("%d damaged unit(s) in pack %s: %s", len(reasons), record.pack, error)
    else:
        logger.error("%d unit(s) of pack %s quarantined: %s", len(reasons), record.pack, reason)


def corrupt(index: NamespaceIndex, pack: int, reasons: Mapping[bytes, str]) -> CorruptFeatures:
    """Return the error to raise for a reader who asked for damaged units of a pack."""
    return CorruptFeatures(
        f"{len(reasons)} unit(s) in {index.where(pack)} are damaged "
        f"({next(iter(reasons.values()))}). Nothing was served, and they are marked as damaged: "
        "`encodeonce precompute` encodes them again, `encodeonce store verify` looks for more"
    )
