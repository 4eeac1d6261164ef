"""Arrays written by zarr, where it is installed."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from encodeonce.harness.bench.rivals.contender import Array, as_bits, sync


class Zarr:
    """zarr v3 with its default compressor (zstd), one chunk per frame."""

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
