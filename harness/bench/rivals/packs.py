"""Our feature store, and its files read by other software."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py

from encodeonce.cache_store.features import MAIN, Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.signature import Signature
from encodeonce.cache_store.store import Entry
from encodeonce.harness.bench.rivals.contender import Array, as_bits
from encodeonce.harness.bench.rivals.gzip import read_rows


class Ours:
    """Our feature store."""

    def __init__(self, folder: Path, codec: str, num_threads: int) -> None:
        self.name = f"encodeonce {codec}"
        self._folder = folder
        self._store = Hdf5Store(folder, codec=codec, num_threads=num_threads)

    def write(self, number: int, frames: Array) -> None:
        """Put an entry with one unit per frame."""
        units = tuple(f"frame:{i}" for i in range(len(frames)))
        features = Features({MAIN: frames})
        entry = Entry(
            signature=bench_signature(str(frames.dtype)),
            media=f"{number:064x}",
            units=units,
            features=features,
        )
        self._store.put([entry])
        self._keys = entry.keys

    def read(self, number: int, out: Array) -> None:
        """Get all units into the buffer."""
        self._store.get(self._of(number), out={MAIN: out})

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Get some units into the buffer."""
        keys = self._of(number)
        self._store.get([keys[row] for row in rows], out={MAIN: out})

    def files(self) -> list[Path]:
        """Return the packs and the records."""
        return [path for path in self._folder.rglob("*") if path.is_file()]

    def _of(self, number: int) -> list[Any]:
        return [key._replace(media=f"{number:064x}") for key in self._keys]


class StockHdf5:
    """Our packs, read through HDF5's own pipeline with hdf5plugin."""

    name = "same file, hdf5plugin"

    def __init__(self, folder: Path) -> None:
        importlib.import_module("hdf5plugin")
        self._folder = folder
        self._packs: list[Path] = []

    def write(self, number: int, frames: Array) -> None:
        """Find the pack that `Ours` has just written."""
        new = set(self._folder.rglob("*.h5")) - set(self._packs)
        self._packs += sorted(new)

    def read(self, number: int, out: Array) -> None:
        """Read the whole dataset."""
        with h5py.File(self._packs[number], "r", locking=False) as file:
            dataset = file["0/main"]
            dataset.read_direct(out if out.dtype == dataset.dtype else as_bits(out))

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Read some rows of the dataset."""
        with h5py.File(self._packs[number], "r", locking=False) as file:
            read_rows(file["0/main"], rows, out)

    def files(self) -> list[Path]:
        """Return the packs, which are the store's."""
        return self._packs


def bench_signature(dtype: str) -> Signature:
    """Return the signature under which the measurement stores."""
    return Signature(
        tower="benchmark",
        weights_sha256="0" * 64,
        tap={},
        preprocess={},
        decoder="none",
        dtype=dtype,
    )
