"""Copy stored rows from one pack to another: verified, but not decompressed."""

import uuid
from collections.abc import Sequence, Set
from dataclasses import replace

import numpy as np

from encodeonce.cache_store.encoding import Frames
from encodeonce.cache_store.manifest import CHUNK_DTYPE, Manifest, Table, Units, dataset_path
from encodeonce.cache_store.reading import ChunkReader, PackFile


def copy_rows(manifest: Manifest, file: PackFile, rows: Sequence[int]) -> tuple[Manifest, Frames]:
    """Return a new pack's manifest and frames: some rows of a pack, in ascending order.

    Raises:
        DamagedChunk: one of the rows is damaged.
        OSError, StoreError: the pack cannot be read.
    """
    reader = ChunkReader()
    file = file.ahead(_ranges(manifest, set(rows)))
    frames = Frames()
    tables: list[Table] = []
    wanted = sorted(rows)
    first_row = 0
    for position, table in enumerate(manifest.tables):
        chosen = [row - first_row for row in wanted if 0 <= row - first_row < table.num_rows]
        first_row += table.num_rows
        if not chosen:
            continue
        for array in table.arrays:
            for part in array.parts:
                frames[dataset_path(len(tables), array.name, part.name)] = [
                    reader.read_stored(file, part, row) for row in chosen
                ]
        tables.append(_without_chunks(manifest.tables[position], len(chosen)))
    units = _renumbered(manifest.units, wanted)
    return replace(manifest, pack=uuid.uuid4().hex, tables=tuple(tables), units=units), frames


def _ranges(manifest: Manifest, rows: Set[int]) -> list[tuple[int, int]]:
    """Return where the chunks of some rows are: what will be read."""
    found: list[tuple[int, int]] = []
    first_row = 0
    for table in manifest.tables:
        chosen = [row for row in range(table.num_rows) if first_row + row in rows]
        for part in (part for array in table.arrays for part in array.parts):
            chunks = part.chunks[chosen]
            ends = chunks["offset"] + chunks["size"]
            found += zip(chunks["offset"].tolist(), ends.tolist(), strict=True)
        first_row += table.num_rows
    return found


def _without_chunks(table: Table, num_rows: int) -> Table:
    arrays = tuple(
        replace(
            array,
            parts=tuple(replace(part, chunks=np.empty(0, CHUNK_DTYPE)) for part in array.parts),
        )
        for array in table.arrays
    )
    return Table(num_rows=num_rows, arrays=arrays)


def _renumbered(all_units: Sequence[Units], wanted: Sequence[int]) -> tuple[Units, ...]:
    new_row = {row: position for position, row in enumerate(wanted)}
    kept = []
    for units in all_units:
        chosen = [i for i in range(len(units.names)) if units.first_row + i in new_row]
        if chosen:
            kept.append(
                replace(
                    units,
                    names=tuple(units.names[i] for i in chosen),
                    first_row=new_row[units.first_row + chosen[0]],
                    loss={name: [loss[i] for i in chosen] for name, loss in units.loss.items()},
                )
            )
    return tuple(kept)
