"""Tell which of a list of units are stored, before any model is loaded; reads no features."""

from collections.abc import Sequence
from dataclasses import dataclass

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.levels.leveled import LeveledStore
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.unit_table import unit_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The units asked for, each once, in the order asked."""

    present: tuple[FeatureKey, ...]
    missing: tuple[FeatureKey, ...]
    """Never stored, or removed since."""
    damaged: tuple[FeatureKey, ...]
    """Stored once, found damaged, and not stored again: to be encoded like missing ones."""

    @property
    def to_encode(self) -> tuple[FeatureKey, ...]:
        """Units that a precompute run has to encode."""
        return self.missing + self.damaged

    @property
    def fraction(self) -> float:
        """Share of the units that are present; 1 if none were asked for."""
        num_asked = len(self.present) + len(self.to_encode)
        return len(self.present) / num_asked if num_asked else 1.0


def coverage(store: Hdf5Store | LeveledStore, keys: Sequence[FeatureKey]) -> Coverage:
    """Sort ``keys`` into present, missing and damaged.

    Raises:
        StoreError: the store cannot be read.
    """
    keys = list(dict.fromkeys(keys))
    present, missing, damaged = [], [], []
    for key, is_present in zip(keys, store.contains_all(keys), strict=True):
        index = store.index(key.signature)
        if is_present:
            present.append(key)
        elif index is not None and index.is_damaged(unit_digest(key.media, key.unit)):
            damaged.append(key)
        else:
            missing.append(key)
    return Coverage(present=tuple(present), missing=tuple(missing), damaged=tuple(damaged))
