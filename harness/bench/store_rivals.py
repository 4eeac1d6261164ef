"""Ways to keep features on disk, for `encodeonce.harness.bench.store` to compare.

An entry is an array (T, P, D) of bfloat16 or float16: T frames of P patches, D wide. Every
contender writes durably (synced), and reads into memory that was used before where its library
can do that.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import safetensors
import safetensors.torch
import torch

from encodeonce.cache_store.features import MAIN, Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.signature import Signature
from encodeonce.cache_store.store import Entry

Array = np.ndarray[Any, np.dtype[Any]]

GZIP_LEVEL = 4
LMDB_MAP_BYTES = 1 << 40


class Contender(Protocol):
    """Keeps numbered entries in a folder."""

    name: str

    def write(self, number: int, frames: Array) -> None:
        """Keep an entry, durably."""
        ...

    def read(self, number: int, out: Array) -> None:
        """Read an entry; into ``out`` if the library can."""
        ...

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Read some frames of an entry, by whatever is the cheapest way."""
        ...

    def files(self) -> list[Path]:
        """Return the files that hold the entries."""
        ...


def as_bits(array: Array) -> Array:
    """View 16-bit floats as integers, for libraries that do not know bfloat16."""
    return array.view(np.uint16)


def as_tensor(array: Array) -> torch.Tensor:
    """View an array as a tensor of the same dtype."""
    dtype = torch.float16 if array.dtype == np.float16 else torch.bfloat16
    return torch.from_numpy(array.view(np.int16)).view(dtype)


class Ours:
    """The feature store of this project."""

    def __init__(self, folder: Path, codec: str, num_threads: int) -> None:
        self.name = f"encodeonce {codec}"
        self._folder = folder
        self._store = Hdf5Store(folder, codec=codec, num_threads=num_threads)

    def write(self, number: int, frames: Array) -> None:
        """Put an entry with one unit a frame."""
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
        """Return nothing of its own."""
        return self._packs


class TorchSave:
    """One file an entry with torch.save, as other harnesses do."""

    def __init__(self, folder: Path, name: str, load: Callable[[Path], torch.Tensor]) -> None:
        self.name = name
        self._folder = folder
        self._load = load
        folder.mkdir(parents=True)

    def write(self, number: int, frames: Array) -> None:
        """Save a tensor."""
        with self._path(number).open("wb") as file:
            torch.save(as_tensor(frames), file)
            file.flush()
            os.fsync(file.fileno())

    def read(self, number: int, out: Array) -> None:
        """Load a tensor; a mapped one is copied, or nothing would have been read."""
        tensor = self._load(self._path(number))
        if self._load is load_mapped:
            as_tensor(out).copy_(tensor)

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Load a tensor and copy some frames."""
        as_tensor(out[: len(rows)]).copy_(self._load(self._path(number))[list(rows)])

    def files(self) -> list[Path]:
        """Return the files."""
        return sorted(self._folder.iterdir())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.pt"


def load_whole(path: Path) -> torch.Tensor:
    """Load a tensor into new memory."""
    loaded: torch.Tensor = torch.load(path, weights_only=True)
    return loaded


def load_mapped(path: Path) -> torch.Tensor:
    """Map a tensor; it is read when it is used."""
    loaded: torch.Tensor = torch.load(path, weights_only=True, mmap=True)
    return loaded


class Safetensors:
    """One safetensors file an entry."""

    name = "safetensors"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)

    def write(self, number: int, frames: Array) -> None:
        """Save a tensor."""
        safetensors.torch.save_file({MAIN: as_tensor(frames)}, self._path(number))
        sync(self._path(number))

    def read(self, number: int, out: Array) -> None:
        """Copy a tensor out of the mapped file."""
        with safetensors.safe_open(self._path(number), "pt") as file:
            as_tensor(out).copy_(file.get_tensor(MAIN))

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Copy slices out of the mapped file."""
        with safetensors.safe_open(self._path(number), "pt") as file:
            part = file.get_slice(MAIN)
            for position, row in enumerate(rows):
                as_tensor(out[position : position + 1]).copy_(part[row : row + 1])

    def files(self) -> list[Path]:
        """Return the files."""
        return sorted(self._folder.iterdir())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.safetensors"


class H5pyGzip:
    """HDF5 with its built-in shuffle and gzip, one chunk a frame."""

    name = f"h5py gzip-{GZIP_LEVEL}"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)

    def write(self, number: int, frames: Array) -> None:
        """Write a compressed dataset."""
        with h5py.File(self._path(number), "w", locking=False) as file:
            file.create_dataset(
                MAIN,
                data=as_bits(frames),
                chunks=(1, *frames.shape[1:]),
                shuffle=True,
                compression="gzip",
                compression_opts=GZIP_LEVEL,
            )
        sync(self._path(number))

    def read(self, number: int, out: Array) -> None:
        """Read the whole dataset."""
        with h5py.File(self._path(number), "r", locking=False) as file:
            file[MAIN].read_direct(as_bits(out))

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Read some rows of the dataset."""
        with h5py.File(self._path(number), "r", locking=False) as file:
            read_rows(file[MAIN], rows, out)

    def files(self) -> list[Path]:
        """Return the files."""
        return sorted(self._folder.iterdir())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.h5"


def read_rows(dataset: h5py.Dataset, rows: Sequence[int], out: Array) -> None:
    """Read rows one by one: h5py's selection by a list takes twenty times as long."""
    for position, row in enumerate(rows):
        out[position] = dataset[row].view(out.dtype)


class Zarr:
    """zarr v3 with its default compressor (zstd), one chunk a frame."""

    name = "zarr v3"

    def __init__(self, folder: Path) -> None:
        self._zarr = importlib.import_module("zarr")
        self._folder = folder
        folder.mkdir(parents=True)

    def write(self, number: int, frames: Array) -> None:
        """Write an array of chunk files."""
        array = self._zarr.create_array(
            store=str(self._path(number)),
            shape=frames.shape,
            chunks=(1, *frames.shape[1:]),
            dtype="uint16",
        )
        array[:] = as_bits(frames)
        for path in self._path(number).rglob("*"):
            if path.is_file():
                sync(path)

    def read(self, number: int, out: Array) -> None:
        """Read the whole array."""
        as_bits(out)[:] = self._zarr.open_array(str(self._path(number)), mode="r")[:]

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Read some frames."""
        array = self._zarr.open_array(str(self._path(number)), mode="r")
        as_bits(out)[: len(rows)] = array.oindex[list(rows)]

    def files(self) -> list[Path]:
        """Return the chunk files and the metadata."""
        return [path for path in self._folder.rglob("*") if path.is_file()]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.zarr"


class Lmdb:
    """LMDB with uncompressed values. One writer at a time, and not for network filesystems."""

    name = "LMDB"

    def __init__(self, folder: Path) -> None:
        lmdb = importlib.import_module("lmdb")
        folder.mkdir(parents=True)
        self._folder = folder
        self._environment = lmdb.open(str(folder), map_size=LMDB_MAP_BYTES)

    def write(self, number: int, frames: Array) -> None:
        """Put one value a frame in one transaction."""
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


def make_contenders(folder: Path, num_threads: int) -> tuple[list[Contender], list[str]]:
    """Return the contenders that can run here, and a line for each that cannot."""
    makers: dict[str, Callable[[], Contender]] = {
        "encodeonce zstd": lambda: Ours(folder / "zstd", "zstd", num_threads),
        "encodeonce raw": lambda: Ours(folder / "raw", "raw", num_threads),
        "same file, hdf5plugin": lambda: StockHdf5(folder / "zstd"),
        "torch.save / load": lambda: TorchSave(folder / "pt", "torch.save / load", load_whole),
        "torch.load mmap": lambda: TorchSave(folder / "mmap", "torch.load mmap", load_mapped),
        "safetensors": lambda: Safetensors(folder / "safetensors"),
        "h5py gzip": lambda: H5pyGzip(folder / "gzip"),
        "zarr v3": lambda: Zarr(folder / "zarr"),
        "LMDB": lambda: Lmdb(folder / "lmdb"),
    }
    contenders, skipped = [], []
    for name, make in makers.items():
        try:
            contenders.append(make())
        except ModuleNotFoundError as error:
            skipped.append(f"{name} skipped: {error.name} is not installed")
    return contenders, skipped


def bench_signature(dtype: str) -> Signature:
    """Return the signature under which the benchmark stores."""
    return Signature(
        tower="benchmark",
        weights_sha256="0" * 64,
        tap={},
        preprocess={},
        decoder="none",
        dtype=dtype,
    )


def sync(path: Path) -> None:
    """Wait until a file is on the medium."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def forget(path: Path) -> None:
    """Ask the kernel to drop a file from its page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
