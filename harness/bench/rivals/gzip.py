"""HDF5 files as h5py writes them without a plugin."""

from collections.abc import Sequence

import h5py

from encodeonce.cache_store.features import MAIN
from encodeonce.harness.bench.rivals.contender import Array, OneFileEach, as_bits, sync

GZIP_LEVEL = 4


class H5pyGzip(OneFileEach):
    """HDF5 with its built-in shuffle and gzip, one chunk per frame."""

    name = f"h5py gzip-{GZIP_LEVEL}"
    suffix = ".h5"

    def write(self, number: int, frames: Array) -> None:
        """Write a compressed dataset."""
        with h5py.File(self.path(number), "w", locking=False) as file:
            file.create_dataset(
                MAIN,
                data=as_bits(frames),
                chunks=(1, *frames.shape[1:]),
                shuffle=True,
                compression="gzip",
                compression_opts=GZIP_LEVEL,
            )
        sync(self.path(number))

    def read(self, number: int, out: Array) -> None:
        """Read the whole dataset."""
        with h5py.File(self.path(number), "r", locking=False) as file:
            file[MAIN].read_direct(as_bits(out))

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Read some rows of the dataset."""
        with h5py.File(self.path(number), "r", locking=False) as file:
            read_rows(file[MAIN], rows, out)


def read_rows(dataset: h5py.Dataset, rows: Sequence[int], out: Array) -> None:
    """Read rows one by one: h5py takes twenty times as long to select by a list."""
    for position, row in enumerate(rows):
        out[position] = dataset[row].view(out.dtype)
