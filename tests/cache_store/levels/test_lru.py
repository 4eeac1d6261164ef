"""The store that keeps recently used units in memory."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.levels.lru import LruStore
from encodeonce.cache_store.levels.memory import MemoryStore
from encodeonce.cache_store.signature import FeatureKey
from tests.contracts.store import StoreContract, an_entry, assert_same_bits


class TestLruStore(StoreContract):
    def open_store(self, folder: Path) -> LruStore:
        return LruStore(Hdf5Store(folder), limit_bytes=1 << 20)


class TestLruStoreThatHoldsNothing(StoreContract):
    def open_store(self, folder: Path) -> LruStore:
        return LruStore(Hdf5Store(folder), limit_bytes=0)


class WatchedStore(MemoryStore):
    """Records what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[FeatureKey] = []

    def get(self, keys: Sequence[FeatureKey]) -> Features:
        self.asked += keys
        return super().get(keys)


def test_only_the_units_not_held_are_read() -> None:
    behind = WatchedStore()
    store, entry = LruStore(behind, limit_bytes=1 << 20), an_entry()
    store.put([entry])
    store.get(entry.keys[:2])
    assert_same_bits(store.get(entry.keys), entry.features)
    assert behind.asked == list(entry.keys)
    assert store.num_hits == 2
    assert store.counters.hits == 5


def test_the_least_recently_used_unit_goes_first_and_the_limit_holds() -> None:
    behind = WatchedStore()
    entry = an_entry(("a", "b", "c"))
    unit_bytes = entry.features.nbytes // 3
    store = LruStore(behind, limit_bytes=2 * unit_bytes + 1)
    store.put([entry])
    a, b, c = ([key] for key in entry.keys)
    for keys in (a, b, a, c):  # b goes when c comes
        store.get(keys)
    assert store.held_bytes == 2 * unit_bytes
    behind.asked.clear()
    for keys in (a, c):
        store.get(keys)
    assert behind.asked == []
    store.get(b)
    assert behind.asked == b


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="limit_bytes"):
        LruStore(MemoryStore(), limit_bytes=-1)
