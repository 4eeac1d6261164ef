"""Frames as values of an LMDB database, where lmdb is installed."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from encodeonce.harness.bench.rivals.contender import Array, as_bits

LMDB_MAP_BYTES = 1 << 40


class Lmdb:
    """LMDB with uncompressed values. One writer at a time, and not for network filesystems."""

    name = "LMDB"

    def __init__(self, folder: Path) -> None:
        lmdb = importlib.import_module("lmdb")
        folder.mkdir(parents=True)
        self._folder = folder
        self._environment = lmdb.open(str(folder), map_size=LMDB_MAP_BYTES)

    def write(self, number: int, frames: Array) -> None:
        """Put one value per frame, all in one transaction."""
        with self._environment.begin(write=True) as transaction:
            for row, frame in enumerate(frames):
                transaction.put(_lmdb_key(number, row), as_bits(frame).tobytes())

    def read(self, number: int, out: Array) -> None:
        """Copy all frames out of the map."""
        self.read_frames(number, range(len(out)), out)

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Copy some frames out of the map."""
        bits = as_bits(out)
        with self._environment.begin(buffers=True) as transaction:
            for position, row in enumerate(rows):
                value = transaction.get(_lmdb_key(number, row))
                bits[position] = np.frombuffer(value, np.uint16).reshape(bits.shape[1:])

    def files(self) -> list[Path]:
        """Return the data file."""
        return [self._folder / "data.mdb"]


def _lmdb_key(number: int, row: int) -> bytes:
    return f"{number:08d}/{row:08d}".encode()
