"""Costs of single steps of the store and the driver, measured here: what `paper` reckons with."""

import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from encodeonce.cache_store.claims import Claims
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.harness.bench.scale.inputs import SIGNATURE, UNITS_A_MEDIA, entry_of, keys_of

NUM_MEDIA = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds and bytes of single steps, on one machine and its disk."""

    put_s: float
    """A media item of 32 units and next to no bytes put: pack, record, sync."""
    append_s: float
    """Of it, what only one writer can do at a time: the record written, linked and synced."""
    follow_s: float
    """Another process's record read and applied."""
    claim_s: float
    """A claim made and given back."""
    unit_bytes: float
    """Memory of the index for each unit, once a snapshot holds it."""
    pack_bytes: float
    """The same for each pack."""


def measure_costs(folder: Path | None = None) -> Costs:
    """Measure the costs on a disk.

    Args:
        folder: on the disk; by default the temporary folder.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="encodeonce-costs-") as made:
        root = Path(made)
        store = Hdf5Store(root, codec="raw")
        store.put([entry_of(NUM_MEDIA, UNITS_A_MEDIA)])
        index = store.index(SIGNATURE.digest)
        assert index is not None
        namespace = index.namespace
        follower = NamespaceIndex(namespace, is_writer=False)
        put_s = _each(NUM_MEDIA, lambda n: store.put([entry_of(n, UNITS_A_MEDIA)]))
        start_s = time.perf_counter()
        follower.refresh()
        follow_s = (time.perf_counter() - start_s) / NUM_MEDIA
        record = index.log.read(1)
        assert record is not None
        tail = index.tail + 1
        append_s = _each(NUM_MEDIA, lambda n: index.log.append(record, tail + n))
        claim_s = _claim_s(root)
        store.close()
        follower.write_snapshot()
        whole = _held_bytes(lambda: NamespaceIndex(namespace, is_writer=False))
    columns = 24.0  # two halves of a digest, a pack, a row
    return Costs(
        put_s=put_s,
        append_s=append_s,
        follow_s=follow_s,
        claim_s=claim_s,
        unit_bytes=columns,
        pack_bytes=max(0.0, whole - columns * NUM_MEDIA * UNITS_A_MEDIA) / NUM_MEDIA,
    )


def _claim_s(root: Path) -> float:
    """Return the seconds of claiming a media item and letting it go."""
    with Claims(root) as claims:
        keys = keys_of(NUM_MEDIA * UNITS_A_MEDIA)[::UNITS_A_MEDIA]

        def claim(number: int) -> None:
            claims.acquire(keys[number])
            claims.release(keys[number])

        return _each(NUM_MEDIA, claim)


def _each(count: int, act: Callable[[int], object]) -> float:
    """Return the seconds of one of ``count`` calls."""
    start_s = time.perf_counter()
    for number in range(count):
        act(number)
    return (time.perf_counter() - start_s) / count


def _held_bytes(make: Callable[[], object]) -> float:
    """Return the memory that an object holds."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = make()
        after, _ = tracemalloc.get_traced_memory()
        del made
    finally:
        tracemalloc.stop()
    return float(after - before)
