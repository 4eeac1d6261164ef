"""Several processes on one store at the same time."""

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from encodeonce.cache_store.claims import Claims
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.maintenance.gc import GcPolicy, gc
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.store import MissingFeatures
from tests.cache_store.stores import SOAK, assert_is_content_of, entry_of, exit_code, fork

NUM_PROCESSES = 8
NUM_UNITS = 1000 if SOAK else 200
NUM_ROUNDS = 5 if SOAK else 1
UNITS_AN_ENTRY = 10
TAIL = (64, 256)


def run_all(works: Sequence[Callable[[], None]]) -> float:
    """Run each function in a process of its own; return the seconds it took."""
    started_s = time.monotonic()
    for pid in [fork(work) for work in works]:
        assert exit_code(pid) == 0
    return time.monotonic() - started_s


def test_units_that_eight_processes_write_at_once_are_stored_once(tmp_path: Path) -> None:
    def write(seed: int) -> None:
        store, rng = Hdf5Store(tmp_path, num_threads=1), random.Random(seed)
        numbers = list(range(40))
        rng.shuffle(numbers)
        while numbers:  # other cuts in every process: packs overlap in parts
            batch = [numbers.pop() for _ in range(min(len(numbers), rng.randint(1, 6)))]
            store.put([entry_of(number, 3) for number in batch])

    run_all([partial(write, seed) for seed in range(NUM_PROCESSES)])
    store = Hdf5Store(tmp_path)
    keys = list(store.keys())
    assert len(keys) == len(set(keys)) == 120
    for key in keys:
        assert_is_content_of(store, key, (6, 16))
    index = store.index(keys[0].signature)
    assert index is not None
    assert sum(info.num_units for info in index.packs) == 120  # no pack holds a unit in vain
    assert len(list(tmp_path.rglob("*.h5"))) == len(index.packs)
    assert verify(Home(tmp_path)).clean


def test_with_claims_eight_processes_asked_for_the_same_units_share_the_work(
    tmp_path: Path,
) -> None:
    """Each unit is encoded once, in little more time than if the work had been split beforehand."""
    numbers = range(NUM_UNITS // UNITS_AN_ENTRY)

    def encode(number: int, journal: Path) -> None:
        time.sleep(0.02)  # the tower: waits for an accelerator
        with journal.open("a") as lines:
            lines.write(f"{number}\n")

    def claim_and_write(root: Path, seed: int) -> None:
        store, rng = Hdf5Store(root, num_threads=1), random.Random(seed)
        with Claims(root) as claims:
            while absent := [n for n in numbers if entry_keys[n][0] not in store]:
                rng.shuffle(absent)
                time.sleep(0.005)
                for number in absent:
                    key = entry_keys[number][0]
                    # Whoever had it may have finished between our look and our claim.
                    if claims.acquire(key) and key not in store:
                        encode(number, root.with_suffix(".journal"))
                        store.put([entry_of(number, UNITS_AN_ENTRY, TAIL)])
                    claims.release(key)

    def write_part(root: Path, part: int) -> None:
        store = Hdf5Store(root, num_threads=1)
        for number in numbers[part::NUM_PROCESSES]:
            encode(number, root.with_suffix(".journal"))
            store.put([entry_of(number, UNITS_AN_ENTRY, TAIL)])

    entry_keys = {number: entry_of(number, UNITS_AN_ENTRY, (1,)).keys for number in numbers}
    ratios = []
    for round_ in range(NUM_ROUNDS):
        cut, shared = tmp_path / f"cut-{round_}", tmp_path / f"shared-{round_}"
        parts = [partial(write_part, cut, part) for part in range(NUM_PROCESSES)]
        ideal_s = run_all(parts)
        ratios.append(
            run_all([partial(claim_and_write, shared, seed) for seed in range(NUM_PROCESSES)])
            / ideal_s
        )
        encoded = shared.with_suffix(".journal").read_text().split()
        assert sorted(map(int, encoded)) == list(numbers)
        assert len(list(Hdf5Store(shared).keys())) == NUM_UNITS
    # The published figure is 1.3 on an idle machine (`ENCODEONCE_SOAK=1`); CI machines are busy.
    assert statistics.median(ratios) < (1.3 if SOAK else 3.0), ratios


def test_readers_while_gc_runs_get_right_units_or_missing_ones(tmp_path: Path) -> None:
    root = tmp_path / "store"
    stop = tmp_path / "stop"
    Hdf5Store(root).put([entry_of(0)])

    def read() -> None:
        store = Hdf5Store(root, num_threads=1)
        while not stop.exists():
            for number in range(8):
                for key in entry_of(number).keys:
                    try:
                        assert_is_content_of(store, key, (6, 16))
                    except MissingFeatures:
                        continue
        assert store.counters.damaged == 0

    def write() -> None:
        store = Hdf5Store(root, num_threads=1)
        while not stop.exists():
            for number in range(8):
                store.put([entry_of(number)])

    def collect() -> None:
        for _ in range(30):
            gc(Home(root), GcPolicy(max_bytes=12_000, grace_s=0.0))
            time.sleep(0.01)
        stop.touch()

    run_all([read, read, write, collect, collect])
    assert verify(Home(root)).clean


def test_a_store_object_survives_a_fork(tmp_path: Path) -> None:
    store, entry = Hdf5Store(tmp_path, num_threads=2), entry_of(0, 8)
    store.put([entry])

    def read_in_child() -> None:
        store.get(entry.keys)
        os._exit(0 if store.counters.hits == 8 else 1)

    assert exit_code(fork(read_in_child)) == 0


def test_threads_that_share_one_store_object_store_each_unit_once(tmp_path: Path) -> None:
    store = Hdf5Store(tmp_path, num_threads=2)
    entries = [entry_of(number, 2) for number in range(12)]

    def write(seed: int) -> None:
        for entry in random.Random(seed).sample(entries, len(entries)):
            store.put([entry])
            store.get(entry.keys)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    index = store.index(entries[0].signature.digest)
    assert index is not None
    assert sum(info.num_units for info in index.packs) == 24
    assert len(list(tmp_path.rglob("*.h5"))) == 12
    assert (store.counters.written, store.counters.skipped) == (24, 72)
