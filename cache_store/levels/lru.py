"""A store in front of another one: it keeps the units used most recently in memory."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.store import Entry, FeatureStore, check_one_media, stack_units

Unit = dict[str, np.ndarray[Any, np.dtype[Any]]]


class LruStore:
    """Keeps copies of units up to ``limit_bytes``; the least recently used go first.

    Its counters are those of the store behind it, whose hits include the units found in memory;
    `num_hits` counts these alone.
    """

    def __init__(self, store: FeatureStore, limit_bytes: int) -> None:
        if limit_bytes < 0:
            raise ValueError(f"limit_bytes must not be negative, got {limit_bytes}")
        self.counters = store.counters
        self.num_hits = 0
        self.held_bytes = 0
        self._store = store
        self._limit_bytes = limit_bytes
        self._units: OrderedDict[FeatureKey, Unit] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: FeatureKey) -> bool:
        """Say whether a unit is held here or in the store behind."""
        return key in self._units or key in self._store

    def get(self, keys: Sequence[FeatureKey]) -> Features:
        """Return the units of ``keys`` stacked in their order, reading those not held here.

        Raises:
            MissingFeatures, CorruptFeatures, ValueError: as the store behind.
        """
        check_one_media(keys)
        held = self._take(keys)
        absent = list(dict.fromkeys(key for key in keys if key not in held))
        if absent:
            features = self._store.get(absent)
            if len(absent) == len(keys):  # nothing to assemble: the arrays are in order
                self._keep(absent, features)
                return features
            self._keep(absent, features)
        from_memory = sum(key in held for key in keys)
        for row, key in enumerate(absent):
            held[key] = {name: array[row] for name, array in features.arrays.items()}
        with self._lock:
            self.num_hits += from_memory
            self.counters.hits += from_memory
        return stack_units([held[key] for key in keys])

    def put(self, entries: Sequence[Entry]) -> None:
        """Commit entries in the store behind."""
        self._store.put(entries)

    def keys(self) -> Iterator[FeatureKey]:
        """Iterate over the units of the store behind."""
        return self._store.keys()

    def _take(self, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Unit]:
        with self._lock:
            held = {}
            for key in keys:
                if key in self._units:
                    self._units.move_to_end(key)
                    held[key] = self._units[key]
            return held

    def _keep(self, keys: Sequence[FeatureKey], features: Features) -> None:
        unit_bytes = features.nbytes // len(keys)
        with self._lock:
            # If there are more than fit, keep the first: the rest would only push them out.
            for row, key in enumerate(keys[: self._limit_bytes // max(1, unit_bytes)]):
                if key not in self._units:
                    self.held_bytes += unit_bytes
                # Copies: a view would keep the whole array alive, uncounted.
                unit = {name: array[row].copy() for name, array in features.arrays.items()}
                self._units[key] = unit
            while self.held_bytes > self._limit_bytes:
                _, unit = self._units.popitem(last=False)
                self.held_bytes -= sum(array.nbytes for array in unit.values())
