"""Several stores as one: one's own, which is written, above others, which are only read."""

from collections.abc import Iterator, Sequence

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import StoreFolder
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.store import (
    CorruptFeatures,
    Entry,
    MissingFeatures,
    StoreCounters,
    check_one_media,
    stack_units,
)


class LeveledStore:
    """The `FeatureStore` protocol over levels. A unit is read from the first level that has it.

    What is put, claims, notes of use and damage all go to one's own store alone. A damaged unit of
    another level is set aside in this process, and from then on missing or read further below.

    Args:
        own: the level that is written.
        below: the others, opened ``read_only``, in the order in which they are asked.
    """

    def __init__(self, own: Hdf5Store, below: Sequence[Hdf5Store] = ()) -> None:
        self.counters: StoreCounters = own.counters
        self._own = own
        self._levels = (own, *below)

    @property
    def folder(self) -> StoreFolder:
        """The folder of one's own store, where claims are made."""
        return self._own.folder

    def index(self, signature: str) -> NamespaceIndex | None:
        """Return one's own index of a signature's features; None while there are none."""
        return self._own.index(signature)

    def __contains__(self, key: FeatureKey) -> bool:
        """Say whether a level has a unit."""
        return self.contains_all([key])[0]

    def contains_all(self, keys: Sequence[FeatureKey]) -> list[bool]:
        """Say for each key whether a level has it."""
        return [level is not None for level in self.find(keys)]

    def find(self, keys: Sequence[FeatureKey]) -> list[int | None]:
        """Return the first level that has each unit: 0 is one's own; None where no level has it."""
        found: list[int | None] = [None] * len(keys)
        for number, level in enumerate(self._levels):
            left = [position for position, one in enumerate(found) if one is None]
            if not left:
                break
            present = level.contains_all([keys[position] for position in left])
            for position, is_present in zip(left, present, strict=True):
                found[position] = number if is_present else None
        return found

    def num_below(self, keys: Sequence[FeatureKey]) -> int:
        """Return how many units only the read-only levels have."""
        return sum(bool(level) for level in self.find(keys)) if len(self._levels) > 1 else 0

    def get(self, keys: Sequence[FeatureKey]) -> Features:
        """Return the units of ``keys`` stacked in their order; all of one media item and signature.

        Raises:
            MissingFeatures: no level has some of them; names these.
            CorruptFeatures: units of one's own store are damaged.
            ValueError: the keys are of several media items, or the units differ in shape.
        """
        if len(self._levels) == 1:
            return self._own.get(keys)
        check_one_media(keys)
        found = self.find(keys)
        if None in found:
            missing = [key for key, level in zip(keys, found, strict=True) if level is None]
            self.counters.misses += len(missing)
            raise MissingFeatures(missing)
        parts = {}
        for number in sorted({level for level in found if level is not None}):
            asked = [key for key, level in zip(keys, found, strict=True) if level == number]
            try:
                parts[number] = self._levels[number].get(list(dict.fromkeys(asked)))
            except (CorruptFeatures, MissingFeatures):
                if number == 0:
                    raise
                return self.get(keys)  # that level has them no longer: look again
        if len(parts) == 1 and len(set(keys)) == len(keys):
            return parts[next(iter(parts))]
        return _assembled(keys, found, parts)

    def put(self, entries: Sequence[Entry]) -> None:
        """Commit entries to one's own store, whatever the other levels have."""
        self._own.put(entries)

    def keys(self) -> Iterator[FeatureKey]:
        """Iterate over the units of all levels, each once."""
        seen: set[FeatureKey] = set()
        for level in self._levels:
            for key in level.keys():  # noqa: SIM118  # a store is no dictionary
                if key not in seen:
                    seen.add(key)
                    yield key

    def close(self) -> None:
        """End the threads."""
        for level in self._levels:
            level.close()


def _assembled(
    keys: Sequence[FeatureKey], found: Sequence[int | None], parts: dict[int, Features]
) -> Features:
    """Return the units of several levels in the order of ``keys``."""
    rows: dict[FeatureKey, tuple[int, int]] = {}
    counts = dict.fromkeys(parts, 0)
    for key, level in zip(keys, found, strict=True):
        if level is not None and key not in rows:
            rows[key] = level, counts[level]
            counts[level] += 1
    units = []
    for key in keys:
        level, row = rows[key]
        units.append({name: array[row] for name, array in parts[level].arrays.items()})
    return stack_units(units)
