"""What happens to units that are found damaged: all readers learn of it, and nobody gets them."""

import logging
from collections.abc import Mapping

from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.log import DamageRecord
from encodeonce.cache_store.store import CorruptFeatures, StoreError

logger = logging.getLogger(__name__)


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
        f"{len(reasons)} unit(s) in {index.namespace.pack(index.packs[pack].pack)} are damaged "
        f"({next(iter(reasons.values()))}). Nothing was served, and they are marked as damaged: "
        "`encodeonce precompute` encodes them again, `encodeonce store verify` looks for more"
    )
