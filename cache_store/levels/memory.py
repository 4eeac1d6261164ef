"""A feature store in memory: for tests, and for runs that keep nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.lossy import find_lossy
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.store import (
    Entry,
    MissingFeatures,
    StoreCounters,
    check_one_media,
    stack_units,
)

Unit = dict[str, np.ndarray[Any, np.dtype[Any]]]
"""The named arrays of one unit, without the unit axis."""


class MemoryStore:
    """The `FeatureStore` protocol over a dictionary. Forgets everything with the process."""

    def __init__(self) -> None:
        self.counters = StoreCounters()
        self._units: dict[FeatureKey, Unit] = {}

    def __contains__(self, key: FeatureKey) -> bool:
        """Say whether a unit was put."""
        return key in self._units

    def get(self, keys: Sequence[FeatureKey]) -> Features:
        """Return copies of the units of ``keys``, stacked in their order.

        Raises:
            MissingFeatures: some were never put.
            ValueError: there are no keys, or they are of several media items or signatures.
        """
        check_one_media(keys)
        missing = [key for key in keys if key not in self._units]
        if missing:
            self.counters.misses += len(missing)
            raise MissingFeatures(missing)
        features = stack_units([self._units[key] for key in keys])
        self.counters.hits += len(keys)
        self.counters.bytes_read += features.nbytes
        return features

    def put(self, entries: Sequence[Entry]) -> None:
        """Keep copies of the units that are not there yet."""
        for entry in entries:
            lossy = find_lossy(entry.signature.codec)
            for row, key in enumerate(entry.keys):
                if key in self._units:
                    self.counters.skipped += 1
                    continue
                unit = {name: array[row] for name, array in entry.features.arrays.items()}
                kept = {
                    name: array.copy() if lossy is None else lossy.approximate(array)
                    for name, array in unit.items()
                }
                self._units[key] = kept
                num_bytes = sum(array.nbytes for array in kept.values())
                self.counters.written += 1
                self.counters.bytes_written += num_bytes
                self.counters.bytes_stored += num_bytes

    def keys(self) -> Iterator[FeatureKey]:
        """Iterate over the units that were put."""
        return iter(tuple(self._units))
