"""What a store writes into the log as it goes: packs it has written, units it has found damaged.

Others may write at the same moment: both ask again after whatever came in between.
"""

import logging
from collections.abc import Callable, Mapping

from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.log import DamageRecord, PackRecord
from encodeonce.cache_store.store import CorruptFeatures, StoreError

logger = logging.getLogger(__name__)


def commit_pack(index: NamespaceIndex, record: PackRecord, is_wanted: Callable[[], bool]) -> bool:
    """Commit ``record`` as long as its pack is wanted; say whether it is committed.

    A pack that is wanted no more is removed. After an error it stays: the record may have
    reached the log all the same, and ``gc`` removes what did not a day later.

    Args:
        index: of the namespace, refreshed.
        record: of a pack that lies under its name.
        is_wanted: asked again whenever others have committed something.

    Raises:
        StoreError: the log cannot be read or written.
    """
    pack = record.manifest.pack
    with index.lock:  # between the question and the commit no other thread commits either
        while is_wanted():
            # `has_pack` covers a link whose success the network lost.
            if index.commit(record) or index.has_pack(pack):
                return True
    index.namespace.pack(pack).unlink(missing_ok=True)
    return False


def quarantine(index: NamespaceIndex, pack: int, reasons: Mapping[bytes, str]) -> None:
    """Mark units of a pack, given by digest, as damaged; where nothing can be written, log it.

    The pack stays where it is: its other units are good, and verified on every read.
    """
    reason = next(iter(reasons.values()))
    record = DamageRecord(index.packs[pack].pack, tuple(reasons), reason)
    try:
        index.append(lambda: record)
    except StoreError as error:
        logger.error("%d damaged unit(s) in pack %s: %s", len(reasons), record.pack, error)
    else:
        logger.error("%d unit(s) of pack %s quarantined: %s", len(reasons), record.pack, reason)


def corrupt(index: NamespaceIndex, pack: int, reasons: Mapping[bytes, str]) -> CorruptFeatures:
    """Return the error that a reader raises."""
    return CorruptFeatures(
        f"{len(reasons)} unit(s) in {index.pack_path(pack)} are damaged "
        f"({next(iter(reasons.values()))}). Nothing was served, and they are marked as damaged: "
        "`encodeonce precompute` encodes them again, `encodeonce store verify` looks for more"
    )
