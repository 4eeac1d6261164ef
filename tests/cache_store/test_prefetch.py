"""Reading ahead."""

import threading
from collections.abc import Sequence

import pytest

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.memory import MemoryStore
from encodeonce.cache_store.prefetch import prefetch
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.store import Entry, MissingFeatures
from tests.contracts.store import an_entry, assert_same_bits


def groups_of(store: MemoryStore, num_groups: int) -> list[Entry]:
    entries = [an_entry(media=f"clip-{i}", seed=i) for i in range(num_groups)]
    store.put(entries)
    return entries


def test_groups_come_in_order_with_their_features() -> None:
    store = MemoryStore()
    entries = groups_of(store, 5)
    for num_ahead in (1, 2, 9):
        read = list(prefetch(entries, lambda entry: entry.keys, store.get, num_ahead))
        assert [entry for entry, _ in read] == entries
        for entry, features in read:
            assert_same_bits(features.result(), entry.features)


def test_the_next_group_is_read_while_this_one_is_used_and_no_further_ones() -> None:
    store, started = MemoryStore(), [threading.Event() for _ in range(4)]
    entries = groups_of(store, 4)
    numbers = {entry.media: i for i, entry in enumerate(entries)}

    def read(keys: Sequence[FeatureKey]) -> Features:
        started[numbers[keys[0].media]].set()
        return store.get(keys)

    groups = prefetch(entries, lambda entry: entry.keys, read)
    next(groups)[1].result()
    assert started[1].wait(10)
    assert not started[2].is_set()
    groups.close()
    assert not started[2].is_set()


def test_an_error_comes_in_its_own_groups_turn_and_the_others_are_read() -> None:
    store = MemoryStore()
    entries = groups_of(store, 2)
    absent = an_entry(media="absent")
    read = list(prefetch([entries[0], absent, entries[1]], lambda e: e.keys, store.get))
    with pytest.raises(MissingFeatures):
        read[1][1].result()
    assert_same_bits(read[2][1].result(), entries[1].features)


def test_reading_ahead_by_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="num_ahead"):
        next(prefetch([], lambda group: (), MemoryStore().get, num_ahead=0))
