"""Measures many small entries: number of files, and seconds to write, look up and read them."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import torch

from encodeonce.cache_store.features import MAIN, Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.store import Entry
from encodeonce.harness.bench.rivals.contender import Array, as_tensor
from encodeonce.harness.bench.rivals.packs import bench_signature

TAIL = (4, 256)
"""A unit of 2 KiB, to measure the cost of an entry and not of its bytes."""
NUM_LOOKUPS = 10_000
NUM_READS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallResult:
    """The cost of one way to keep small entries."""

    name: str
    num_entries: int
    num_files: int
    stored_bytes: int
    write_s: float
    open_and_lookup_s: float
    """Time to open the store and ask for `NUM_LOOKUPS` keys, half of them absent."""
    read_median_s: float


def run_small(num_entries: int, folder: Path | None, seed: int = 0) -> list[SmallResult]:
    """Measure our store, and one file per entry."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((num_entries, 1, *TAIL), dtype=np.float32)
    images = values.astype(ml_dtypes.bfloat16)
    with tempfile.TemporaryDirectory(prefix="bench-small-", dir=folder) as scratch:
        root = Path(scratch)
        asked = rng.integers(0, 2 * num_entries, NUM_LOOKUPS).tolist()
        read = rng.integers(0, num_entries, NUM_READS).tolist()
        return [
            _ours(root / "store", images, asked, read),
            _file_each(root / "files", images, asked, read),
        ]


def _ours(root: Path, images: Array, asked: Sequence[int], read: Sequence[int]) -> SmallResult:
    signature = bench_signature("bfloat16")
    entries = [
        Entry(
            signature=signature,
            media=f"{number:064x}",
            units=("image",),
            features=Features({MAIN: image}),
        )
        for number, image in enumerate(images)
    ]
    key = entries[0].keys[0]
    started_s = time.perf_counter()
    Hdf5Store(root).put(entries)
    write_s = time.perf_counter() - started_s

    keys = [key._replace(media=f"{number:064x}") for number in asked]
    started_s = time.perf_counter()
    store = Hdf5Store(root)
    store.contains_all(keys)
    lookup_s = time.perf_counter() - started_s
    return _result(
        "encodeonce zstd",
        root,
        len(images),
        write_s,
        lookup_s,
        [lambda n=n: store.get([key._replace(media=f"{n:064x}")]) for n in read],  # type: ignore[misc]
    )


def _file_each(root: Path, images: Array, asked: Sequence[int], read: Sequence[int]) -> SmallResult:
    root.mkdir()

    def path_of(number: int) -> Path:
        return root / f"{number:064x}.pt"

    started_s = time.perf_counter()
    for number, image in enumerate(images):
        torch.save(as_tensor(image), path_of(number))
    os.sync()
    write_s = time.perf_counter() - started_s
    started_s = time.perf_counter()
    for number in asked:
        path_of(number).exists()
    lookup_s = time.perf_counter() - started_s
    return _result(
        "torch.save, one file each",
        root,
        len(images),
        write_s,
        lookup_s,
        [lambda n=n: torch.load(path_of(n), weights_only=True) for n in read],  # type: ignore[misc]
    )


def _result(
    name: str,
    root: Path,
    num_entries: int,
    write_s: float,
    lookup_s: float,
    reads: Sequence[Callable[[], object]],
) -> SmallResult:
    taken = []
    for run in reads:
        started_s = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started_s)
    files = [path for path in root.rglob("*") if path.is_file()]
    return SmallResult(
        name=name,
        num_entries=num_entries,
        num_files=len(files),
        stored_bytes=sum(path.stat().st_size for path in files),
        write_s=write_s,
        open_and_lookup_s=lookup_s,
        read_median_s=statistics.median(taken),
    )
