"""A sorted table of units: the pack and row each is in. A million take 24 MB and no parsing."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Column = np.ndarray[Any, np.dtype[Any]]

Place = tuple[int, int]
"""Number of a pack, and row in it."""

COLUMNS = {"high": "<u8", "low": "<u8", "pack": "<u4", "row": "<u4"}
"""The two halves of a unit's digest, read as big-endian numbers, and its place."""


def unit_digest(media: str, unit: str) -> bytes:
    """Return the 16 bytes by which an index knows a unit."""
    text = f"{media}\0{unit}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).digest()[:16]


@dataclass(frozen=True, slots=True)
class UnitTable:
    """Columns in the order of the digests. N units."""

    high: Column
    low: Column
    pack: Column
    row: Column

    def __len__(self) -> int:
        return len(self.high)

    @classmethod
    def of(cls, units: Sequence[tuple[bytes, Place]]) -> "UnitTable":
        """Return a table of (digest, place) pairs in any order."""
        digests = np.frombuffer(b"".join(digest for digest, _ in units), ">u8").reshape(-1, 2)
        places = np.array([place for _, place in units], "<u4").reshape(-1, 2)
        return cls(
            digests[:, 0].astype("<u8"), digests[:, 1].astype("<u8"), places[:, 0], places[:, 1]
        ).sorted()

    @classmethod
    def from_buffer(cls, data: bytes, num_units: int, offset: int) -> "UnitTable":
        """View a table in what `to_bytes` returned."""
        found = []
        for dtype in COLUMNS.values():
            found.append(np.frombuffer(data, dtype, num_units, offset))
            offset += found[-1].nbytes
        return cls(*found)

    def to_bytes(self) -> bytes:
        """Return the columns one after the other."""
        return b"".join(
            getattr(self, name).astype(dtype).tobytes() for name, dtype in COLUMNS.items()
        )

    def sorted(self) -> "UnitTable":
        """Return the table in the order of the digests."""
        return self.where(np.lexsort((self.low, self.high)))

    def where(self, choice: Column) -> "UnitTable":
        """Return the rows that a mask or a list of positions picks."""
        return UnitTable(self.high[choice], self.low[choice], self.pack[choice], self.row[choice])

    def merged(self, other: "UnitTable") -> "UnitTable":
        """Return a table of both."""
        return UnitTable(
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in COLUMNS)
        ).sorted()

    def find(self, digests: Sequence[bytes]) -> list[int | None]:
        """Return the position of each digest, None where it is absent."""
        if not digests or not len(self):
            return [None] * len(digests)
        halves = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).astype(np.uint64)
        position = np.searchsorted(self.high, halves[:, 0])
        inside = np.minimum(position, len(self) - 1)
        equal_high = self.high[inside] == halves[:, 0]
        equal = equal_high & (self.low[inside] == halves[:, 1])
        found: list[int | None] = [
            place if is_equal else None
            for place, is_equal in zip(inside.tolist(), equal.tolist(), strict=True)
        ]
        # Digests with equal first halves are adjacent; only the first was looked at.
        for i in np.flatnonzero(equal_high & ~equal).tolist():
            high, low = halves[i].tolist()
            found[i] = self._walk(int(position[i]) + 1, high, low)
        return found

    def _walk(self, position: int, high: int, low: int) -> int | None:
        while position < len(self) and int(self.high[position]) == high:
            if int(self.low[position]) == low:
                return position
            position += 1
        return None

    def place(self, position: int) -> Place:
        """Return the place in one row of the table."""
        return int(self.pack[position]), int(self.row[position])

    def rows(self) -> Iterator[tuple[bytes, Place]]:
        """Iterate over (digest, place)."""
        for high, low, pack, row in zip(
            *(getattr(self, name).tolist() for name in COLUMNS), strict=True
        ):
            yield high.to_bytes(8, "big") + low.to_bytes(8, "big"), (pack, row)
