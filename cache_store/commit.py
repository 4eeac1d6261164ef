"""Commit a pack that is written, or remove it when others were faster."""

from collections.abc import Callable

from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.log import PackRecord


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
