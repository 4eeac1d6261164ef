"""Tensors written by torch.save, loaded whole or memory-mapped."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from encodeonce.harness.bench.rivals.contender import Array, OneFileEach, as_tensor


class TorchSave(OneFileEach):
    """One torch.save file per entry, as in other harnesses."""

    suffix = ".pt"

    def __init__(self, folder: Path, name: str, load: Callable[[Path], torch.Tensor]) -> None:
        super().__init__(folder)
        self.name = name
        self._load = load

    def write(self, number: int, frames: Array) -> None:
        """Save a tensor."""
        with self.path(number).open("wb") as file:
            torch.save(as_tensor(frames), file)
            file.flush()
            os.fsync(file.fileno())

    def read(self, number: int, out: Array) -> None:
        """Load a tensor; a mapped one is copied, or nothing would have been read."""
        tensor = self._load(self.path(number))
        if self._load is load_mapped:
            as_tensor(out).copy_(tensor)

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Load a tensor and copy some frames."""
        as_tensor(out[: len(rows)]).copy_(self._load(self.path(number))[list(rows)])


def load_whole(path: Path) -> torch.Tensor:
    """Load a tensor into new memory."""
    loaded: torch.Tensor = torch.load(path, weights_only=True)
    return loaded


def load_mapped(path: Path) -> torch.Tensor:
    """Map a tensor; it is read when it is used."""
    loaded: torch.Tensor = torch.load(path, weights_only=True, mmap=True)
    return loaded
