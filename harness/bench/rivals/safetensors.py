"""Tensors in safetensors files."""

from collections.abc import Sequence

import safetensors
import safetensors.torch

from encodeonce.cache_store.features import MAIN
from encodeonce.harness.bench.rivals.contender import Array, OneFileEach, as_tensor, sync


class Safetensors(OneFileEach):
    """One safetensors file per entry."""

    name = "safetensors"
    suffix = ".safetensors"

    def write(self, number: int, frames: Array) -> None:
        """Save a tensor."""
        safetensors.torch.save_file({MAIN: as_tensor(frames)}, self.path(number))
        sync(self.path(number))

    def read(self, number: int, out: Array) -> None:
        """Copy a tensor out of the mapped file."""
        with safetensors.safe_open(self.path(number), "pt") as file:
            as_tensor(out).copy_(file.get_tensor(MAIN))

    def read_frames(self, number: int, rows: Sequence[int], out: Array) -> None:
        """Copy slices out of the mapped file."""
        with safetensors.safe_open(self.path(number), "pt") as file:
            part = file.get_slice(MAIN)
            for position, row in enumerate(rows):
                as_tensor(out[position : position + 1]).copy_(part[row : row + 1])
