"""The protocol every feature store follows, its errors and its counters.

`tests/contracts/store.py` is the suite that an implementation inherits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.signature import FeatureKey, Signature


class StoreError(Exception):
    """The store cannot be used: wrong format, read-only, disk full."""


class StoreNotWritable(StoreError):
    """The filesystem refuses to write for the store, whatever is to be written."""


class MissingFeatures(StoreError, KeyError):
    """`FeatureStore.get` was asked for units that are not there."""

    def __init__(self, missing: Sequence[FeatureKey], file: str = "") -> None:
        """Describe what is missing; ``file`` is the name of its media, where that is known."""
        super().__init__(missing, file)
        self.missing = tuple(missing)
        self.file = file

    def __str__(self) -> str:
        first = self.missing[0]
        of = f" of {self.file}" if self.file else ""
        return (
            f"{len(self.missing)} unit(s){of} not in the store, first {first.unit} of media "
            f"{first.media[:12]} under signature {first.signature[:12]}"
        )


class CorruptFeatures(StoreError):
    """Stored bytes are not what was written. They were not returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Features of some units of one media item under one signature, for `FeatureStore.put`."""

    signature: Signature
    media: str
    """SHA-256 of the media file's bytes."""
    units: tuple[str, ...]
    """Unit names, in the order of the arrays' first axis."""
    features: Features
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How it was made (host, library versions): shown to people, never part of the key."""

    def __post_init__(self) -> None:
        if len(self.units) != self.features.num_units or len(set(self.units)) != len(self.units):
            raise ValueError(
                f"{self.features.num_units} units of features for the unit names {self.units}"
            )

    @property
    def keys(self) -> tuple[FeatureKey, ...]:
        """Keys of the units, in order."""
        digest = self.signature.digest
        return tuple(FeatureKey(self.media, digest, unit) for unit in self.units)


@dataclass(slots=True)
class StoreCounters:
    """What one store object has done so far: units, and bytes before compression."""

    hits: int = 0
    misses: int = 0
    """Units asked of `FeatureStore.get` that were absent."""
    written: int = 0
    """Units committed by `FeatureStore.put`."""
    skipped: int = 0
    """Units given to `FeatureStore.put` that were stored already."""
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_stored: int = 0
    """Bytes that were written to disk for `bytes_written`."""
    damaged: int = 0
    """Units found damaged by `FeatureStore.get`; they were not returned."""


class FeatureStore(Protocol):
    """A content-addressed map from `FeatureKey` to the features of one unit."""

    counters: StoreCounters

    def __contains__(self, key: FeatureKey) -> bool:
        """Say whether a unit is committed. Never reads a payload."""
        ...

    def get(self, keys: Sequence[FeatureKey]) -> Features:
        """Return the units of ``keys`` stacked in their order; all of one media item and signature.

        Raises:
            MissingFeatures: some are absent; names all of them.
            CorruptFeatures: stored bytes are damaged; nothing is returned.
        """
        ...

    def put(self, entries: Sequence[Entry]) -> None:
        """Commit entries; all of them are durable and whole when this returns.

        Idempotent: a unit that is stored already is skipped. A killed writer leaves whole units
        or nothing.
        """
        ...

    def keys(self) -> Iterator[FeatureKey]:
        """Iterate over the committed units."""
        ...


def check_one_media(keys: Sequence[FeatureKey]) -> None:
    """Check what every `FeatureStore.get` demands of its keys.

    Raises:
        ValueError: there are no keys, or they are of several media items or signatures.
    """
    groups = {(key.media, key.signature) for key in keys}
    if len(groups) != 1:
        raise ValueError(
            f"get takes units of one media item under one signature, got {len(groups)}: "
            "call it once for each"
        )


def stack_units(
    units: Sequence[Mapping[str, np.ndarray[Any, np.dtype[Any]]]],
) -> Features:
    """Stack units, each a mapping of named arrays without the unit axis.

    Raises:
        ValueError: the units have different arrays, shapes or dtypes.
    """
    layouts = {
        tuple(sorted((name, str(array.dtype), array.shape) for name, array in unit.items()))
        for unit in units
    }
    if len(layouts) != 1:
        raise ValueError(f"units of different shapes cannot be stacked: {sorted(layouts)}")
    return Features({name: np.stack([unit[name] for unit in units]) for name in units[0]})
