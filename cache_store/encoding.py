"""Encode entries to the stored bytes of one pack, in parallel."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encodeonce.cache_store.codec import ChunkCodec
from encodeonce.cache_store.int8 import relative_rmse
from encodeonce.cache_store.lossy import LossyCodec, find_lossy
from encodeonce.cache_store.manifest import (
    CHUNK_DTYPE,
    ArrayLayout,
    Manifest,
    Part,
    Table,
    Units,
    dataset_path,
)
from encodeonce.cache_store.parallel import Map
from encodeonce.cache_store.signature import canonical_json
from encodeonce.cache_store.store import Entry

Array = np.ndarray[Any, np.dtype[Any]]
Frames = dict[str, list[bytes]]
"""Stored bytes of every row, by dataset path."""
Layout = tuple[tuple[str, str, tuple[int, ...]], ...]

PACK_BYTES = 128 << 20
"""Entries given to one `put` share packs of about this size, before compression."""
ARRAY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Pending:
    """Units of an entry that are to be stored."""

    entry: Entry
    rows: tuple[int, ...]
    """Rows of the entry's arrays."""


@dataclass(frozen=True, slots=True)
class _EncodedUnit:
    arrays: tuple[ArrayLayout, ...]
    frames: tuple[bytes, ...]
    """One per part of each array, in order."""
    loss: tuple[tuple[str, float], ...]


def check_entry(entry: Entry) -> None:
    """Refuse what cannot be stored, before anything is encoded.

    Raises:
        ValueError: an array's name or shape, the provenance, or the codec is not storable.
    """
    find_lossy(entry.signature.codec)
    canonical_json(dict(entry.provenance))
    for name, array in entry.features.arrays.items():
        if not ARRAY_NAME.fullmatch(name):
            raise ValueError(f"array name {name!r}; allowed are letters, digits, '_' and '-'")
        if 0 in array.shape[1:]:
            raise ValueError(f"{name}: units of shape {array.shape[1:]} hold nothing to store")


def encode_pack(
    pack: str,
    pending: Sequence[Pending],
    codec: ChunkCodec,
    map_: Map,
) -> tuple[Manifest, Frames]:
    """Encode units of one signature; the chunks' offsets are filled in when they are written.

    Args:
        pack: id of the pack.
        pending: at least one.
        codec: how chunks are stored.
        map_: maps a function over items, in threads.
    """
    signature = pending[0].entry.signature
    lossy = find_lossy(signature.codec)
    tables: list[Table] = []
    all_units: list[Units] = []
    frames, first_row = Frames(), 0
    for group in _by_layout(pending):
        places = [(units.entry, row) for units in group for row in units.rows]
        encoded = map_(lambda place: _encode_unit(place[0], place[1], codec, lossy), places)
        table = Table(num_rows=len(encoded), arrays=encoded[0].arrays)
        datasets = [
            dataset_path(len(tables), array.name, part.name)
            for array in table.arrays
            for part in array.parts
        ]
        for position, dataset in enumerate(datasets):
            frames[dataset] = [unit.frames[position] for unit in encoded]
        tables.append(table)
        all_units += _units(group, encoded, first_row)
        first_row += len(encoded)
    manifest = Manifest(
        pack=pack,
        signature=signature.digest,
        codec=signature.codec,
        tables=tuple(tables),
        units=tuple(all_units),
    )
    return manifest, frames


def cut_batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Cut a list of entries into batches of about `PACK_BYTES`; an entry is never split."""
    batch: list[Entry] = []
    num_bytes = 0
    for entry in entries:
        if batch and num_bytes + entry.features.nbytes > PACK_BYTES:
            yield batch
            batch, num_bytes = [], 0
        batch.append(entry)
        num_bytes += entry.features.nbytes
    if batch:
        yield batch


def _by_layout(pending: Sequence[Pending]) -> list[list[Pending]]:
    groups: dict[Layout, list[Pending]] = {}
    for units in pending:
        arrays = units.entry.features.arrays
        layout = tuple((name, str(a.dtype), a.shape[1:]) for name, a in sorted(arrays.items()))
        groups.setdefault(layout, []).append(units)
    return list(groups.values())


def _encode_unit(
    entry: Entry, row: int, codec: ChunkCodec, lossy: LossyCodec | None
) -> _EncodedUnit:
    layouts, frames, loss = [], [], []
    for name, array in sorted(entry.features.arrays.items()):
        unit = np.ascontiguousarray(array[row]).reshape(array.shape[1:])
        parts = {"": unit} if lossy is None else lossy.split(unit)
        if lossy is not None:
            approximation = np.empty(unit.shape, unit.dtype)
            lossy.join(parts, approximation)
            loss.append((name, relative_rmse(unit, approximation)))
        frames += [codec.encode(part) for part in parts.values()]
        layouts.append(
            ArrayLayout(
                name=name,
                dtype=str(unit.dtype),
                shape=unit.shape,
                parts=tuple(
                    Part(
                        name=part_name,
                        dtype=str(part.dtype),
                        shape=part.shape,
                        filter=codec.name,
                        chunks=np.empty(0, CHUNK_DTYPE),
                    )
                    for part_name, part in parts.items()
                ),
            )
        )
    return _EncodedUnit(tuple(layouts), tuple(frames), tuple(loss))


def _units(
    group: Sequence[Pending], encoded: Sequence[_EncodedUnit], first_row: int
) -> Iterable[Units]:
    start = 0
    for units in group:
        ours = encoded[start : start + len(units.rows)]
        yield Units(
            media=units.entry.media,
            names=tuple(units.entry.units[row] for row in units.rows),
            first_row=first_row + start,
            provenance=units.entry.provenance,
            loss={name: [dict(unit.loss)[name] for unit in ours] for name in dict(ours[0].loss)},
        )
        start += len(ours)
