"""Makes the contenders of `encodeonce.harness.bench.store` that can run here."""

from collections.abc import Callable
from pathlib import Path

from encodeonce.harness.bench.rivals.contender import Contender
from encodeonce.harness.bench.rivals.gzip import H5pyGzip
from encodeonce.harness.bench.rivals.lmdb import Lmdb
from encodeonce.harness.bench.rivals.packs import Ours, StockHdf5
from encodeonce.harness.bench.rivals.safetensors import Safetensors
from encodeonce.harness.bench.rivals.torch_save import TorchSave, load_mapped, load_whole
from encodeonce.harness.bench.rivals.zarr import Zarr


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
