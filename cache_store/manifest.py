"""List a pack's contents: tables of chunks, and the unit and media item that each row belongs to.

A pack has *rows*, one per unit. Rows with the same arrays form a *table*; a table has one HDF5
dataset for each *part* of each array (one part, unless the codec is lossy).
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from encodeonce.cache_store.layout import FORMAT

CHUNK_DTYPE = np.dtype([("offset", "<u8"), ("size", "<u4"), ("xxh3", "<u8")])
"""A chunk: where its stored bytes lie in the file, how many, and their XXH3-64."""

Chunks = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One dataset of a table: chunk i is row i."""

    name: str
    """Empty for the main part; lossy codecs have further ones."""
    dtype: str
    shape: tuple[int, ...]
    """Of one row."""
    filter: str
    """Chunk codec."""
    chunks: Chunks
    """(rows of the table,) of `CHUNK_DTYPE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayLayout:
    """One array of a table, as readers get it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """Of one unit."""
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows with the same arrays."""

    num_rows: int
    arrays: tuple[ArrayLayout, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Consecutive rows that hold units of one media item."""

    media: str
    names: tuple[str, ...]
    first_row: int
    """Counted over all tables of the pack, in their order."""
    provenance: Mapping[str, Any]
    loss: Mapping[str, Sequence[float]]
    """Measured relative error of a lossy codec: by array, one number per unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Contents of one pack. Its canonical JSON is both in the pack and in the commit record."""

    pack: str
    signature: str
    codec: str
    """`Signature.codec`."""
    tables: tuple[Table, ...]
    units: tuple[Units, ...]

    @property
    def num_rows(self) -> int:
        """Units in the pack."""
        return sum(table.num_rows for table in self.tables)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all chunks."""
        return sum(int(part.chunks["size"].sum()) for _, part in self.parts())

    @property
    def raw_bytes(self) -> int:
        """Bytes of all units as readers get them: uncompressed."""
        return sum(
            table.num_rows * unit_bytes(array) for table in self.tables for array in table.arrays
        )

    def parts(self) -> Iterator[tuple[str, Part]]:
        """Iterate over (dataset path, part) in file order."""
        for position, table in enumerate(self.tables):
            for array in table.arrays:
                for part in array.parts:
                    yield dataset_path(position, array.name, part.name), part

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """Iterate over (row, media, unit)."""
        for units in self.units:
            for position, name in enumerate(units.names):
                yield units.first_row + position, units.media, name

    def find_row(self, row: int) -> tuple[Table, int]:
        """Return the table of a row and the row's place in it."""
        for table in self.tables:
            if row < table.num_rows:
                return table, row
            row -= table.num_rows
        raise IndexError(f"pack {self.pack} has {self.num_rows} rows, asked for another")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object that is stored."""
        requires = {part.filter for _, part in self.parts()} | {self.codec} - {"lossless"}
        return {
            "format": FORMAT,
            "requires": sorted(requires),
            "pack": self.pack,
            "signature": self.signature,
            "codec": self.codec,
            "tables": [_table_to_dict(table) for table in self.tables],
            "units": [
                {
                    "media": units.media,
                    "names": list(units.names),
                    "first_row": units.first_row,
                    "provenance": dict(units.provenance),
                    "loss": {name: list(errors) for name, errors in units.loss.items()},
                }
                for units in self.units
            ],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Manifest":
        """Read what `to_dict` returned.

        Raises:
            KeyError, TypeError, ValueError: ``stored`` is something else.
        """
        return cls(
            pack=stored["pack"],
            signature=stored["signature"],
            codec=stored["codec"],
            tables=tuple(_table_from_dict(table) for table in stored["tables"]),
            units=tuple(
                Units(
                    media=units["media"],
                    names=tuple(units["names"]),
                    first_row=units["first_row"],
                    provenance=units["provenance"],
                    loss=units["loss"],
                )
                for units in stored["units"]
            ),
        )


def unit_bytes(array: ArrayLayout) -> int:
    """Return the bytes of one unit of an array, uncompressed."""
    return int(np.prod(array.shape, dtype=np.int64)) * (2 if array.dtype != "float32" else 4)


def dataset_path(table: int, array: str, part: str) -> str:
    """Return the name of a dataset in the HDF5 file."""
    return f"{table}/{array}" + (f".{part}" if part else "")


def with_chunks(manifest: Manifest, chunks: Mapping[str, Chunks]) -> Manifest:
    """Return the manifest with the chunk tables put in, by dataset path."""
    tables = []
    for position, table in enumerate(manifest.tables):
        arrays = []
        for array in table.arrays:
            parts = tuple(
                replace(part, chunks=chunks[dataset_path(position, array.name, part.name)])
                for part in array.parts
            )
            arrays.append(replace(array, parts=parts))
        tables.append(replace(table, arrays=tuple(arrays)))
    return replace(manifest, tables=tuple(tables))


def _table_to_dict(table: Table) -> dict[str, Any]:
    return {
        "num_rows": table.num_rows,
        "arrays": [
            {
                "name": array.name,
                "dtype": array.dtype,
                "shape": list(array.shape),
                "parts": [
                    {
                        "name": part.name,
                        "dtype": part.dtype,
                        "shape": list(part.shape),
                        "filter": part.filter,
                        "chunks": base64.b64encode(part.chunks.tobytes()).decode("ascii"),
                    }
                    for part in array.parts
                ],
            }
            for array in table.arrays
        ],
    }


def _table_from_dict(stored: Mapping[str, Any]) -> Table:
    return Table(
        num_rows=stored["num_rows"],
        arrays=tuple(
            ArrayLayout(
                name=array["name"],
                dtype=array["dtype"],
                shape=tuple(array["shape"]),
                parts=tuple(
                    Part(
                        name=part["name"],
                        dtype=part["dtype"],
                        shape=tuple(part["shape"]),
                        filter=part["filter"],
                        chunks=np.frombuffer(
                            base64.b64decode(part["chunks"], validate=True), CHUNK_DTYPE
                        ),
                    )
                    for part in array["parts"]
                ),
            )
            for array in stored["arrays"]
        ),
    )
