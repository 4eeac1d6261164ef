"""The interface that `encodeonce.harness.bench.store` measures: numbered entries kept on disk.

An entry is an array (T, P, D) of bfloat16 or float16: T frames of P patches, D wide. Every
contender writes durably (synced), and reads into memory already in use where its library can do
that.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

Array = np.ndarray[Any, np.dtype[Any]]


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
        """Read some frames of an entry in the cheapest way available."""
        ...

    def files(self) -> list[Path]:
        """Return the files that hold the entries."""
        ...


class OneFileEach:
    """Base of contenders with one file per entry: says where the files are."""

    suffix: str

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)

    def files(self) -> list[Path]:
        """Return the files."""
        return sorted(self._folder.iterdir())

    def path(self, number: int) -> Path:
        """Return the file of an entry."""
        return self._folder / f"{number}{self.suffix}"


def as_bits(array: Array) -> Array:
    """View 16-bit floats as integers, for libraries that do not know bfloat16."""
    return array.view(np.uint16)


def as_tensor(array: Array) -> torch.Tensor:
    """View an array as a tensor of the same dtype."""
    dtype = torch.float16 if array.dtype == np.float16 else torch.bfloat16
    return torch.from_numpy(array.view(np.int16)).view(dtype)


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
