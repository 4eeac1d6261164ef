"""`gc`: what goes, what stays, and when the bytes are free."""

import errno
import os
import time
from pathlib import Path

import pytest

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.layout import StoreFolder
from encodeonce.cache_store.log import DamageRecord
from encodeonce.cache_store.maintenance.gc import ABANDONED_S, GcPolicy, gc
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.store import StoreError
from encodeonce.cache_store.unit_table import unit_digest
from tests.cache_store.stores import entry_of, exit_code, fork
from tests.contracts.store import assert_same_bits

HOUR_S = 3600.0


def make_old(root: Path, age_s: float, pattern: str = "*") -> None:
    """Make files look old."""
    then_s = time.time() - age_s
    for path in root.rglob(pattern):
        if path.is_file():
            os.utime(path, (then_s, then_s))


def packs(root: Path) -> int:
    return len(list(root.rglob("*.h5")))


def four_packs(root: Path) -> Hdf5Store:
    store = Hdf5Store(root)
    for number in range(4):
        store.put([entry_of(number)])
    return store


def test_without_rules_nothing_that_is_of_use_goes(tmp_path: Path) -> None:
    four_packs(tmp_path)
    make_old(tmp_path, 1000 * HOUR_S)
    report = gc(Home(tmp_path), GcPolicy())
    assert (report.dropped, report.removed) == ([], [])
    assert packs(tmp_path) == 4


def test_what_was_not_used_for_long_goes_and_its_file_follows_after_the_grace(
    tmp_path: Path,
) -> None:
    store = four_packs(tmp_path)
    make_old(tmp_path, 50 * HOUR_S)
    fresh = Hdf5Store(tmp_path)
    fresh.get(entry_of(2).keys)  # now used
    policy = GcPolicy(unused_for_s=40 * HOUR_S)
    report = gc(Home(tmp_path), policy)
    assert len(report.dropped) == 3
    assert packs(tmp_path) == 4
    assert [entry_of(n).keys[0] in store for n in range(4)] == [False, False, True, False]
    assert gc(Home(tmp_path), policy).removed == []  # the grace is not over
    make_old(tmp_path, 2 * HOUR_S, "*.json")
    later = gc(Home(tmp_path), policy)
    assert later.removed_bytes == report.dropped_bytes
    assert packs(tmp_path) == 1
    assert_same_bits(store.get(entry_of(2).keys), entry_of(2).features)
    assert verify(Home(tmp_path)).clean
    store.put([entry_of(0)])
    assert_same_bits(store.get(entry_of(0).keys), entry_of(0).features)


def test_the_size_cap_takes_the_least_recently_used_first(tmp_path: Path) -> None:
    four_packs(tmp_path)
    sizes = sorted(path.stat().st_size for path in tmp_path.rglob("*.h5"))
    make_old(tmp_path, 50 * HOUR_S)
    fresh = Hdf5Store(tmp_path)
    for number in (1, 3):
        fresh.get(entry_of(number).keys)
    make_old(tmp_path, 3 * HOUR_S, "used/*/*")
    report = gc(Home(tmp_path), GcPolicy(max_bytes=2 * sizes[-1]))
    assert len(report.dropped) == 2
    assert [entry_of(n).keys[0] in fresh for n in range(4)] == [False, True, False, True]
    assert report.kept_bytes <= 2 * sizes[-1]


def test_what_is_in_use_stays_even_over_the_cap(tmp_path: Path) -> None:
    four_packs(tmp_path)
    report = gc(Home(tmp_path), GcPolicy(max_bytes=0))
    assert report.dropped == []
    assert report.kept_bytes > 0


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path) -> None:
    four_packs(tmp_path)
    make_old(tmp_path, 50 * HOUR_S)
    before = sorted(tmp_path.rglob("*"))
    said = gc(Home(tmp_path), GcPolicy(unused_for_s=HOUR_S, dry_run=True))
    assert sorted(tmp_path.rglob("*")) == before
    done = gc(Home(tmp_path), GcPolicy(unused_for_s=HOUR_S))
    assert [c.pack for c in said.dropped] == [c.pack for c in done.dropped]
    assert len(done.dropped) == 4


def test_a_signature_goes_as_a_whole_and_the_others_stay(tmp_path: Path) -> None:
    store = Hdf5Store(tmp_path)
    gone, kept = entry_of(0, tower="siglip"), entry_of(0, tower="clip")
    store.put([gone, kept])
    gc(Home(tmp_path), GcPolicy(signature=gone.signature.digest[:10], grace_s=0))
    assert gone.keys[0] not in store
    assert_same_bits(store.get(kept.keys), kept.features)
    with pytest.raises(StoreError, match="no signature begins with 'abcdef'"):
        gc(Home(tmp_path), GcPolicy(signature="abcdef"))


def test_leftovers_of_dead_writers_are_swept_a_day_later(tmp_path: Path) -> None:
    four_packs(tmp_path)
    (namespace,) = StoreFolder(tmp_path).namespaces()
    leftovers = [namespace.tmp / "dead.h5.tmp", namespace.pack("ab" * 16)]
    for path in leftovers:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert gc(Home(tmp_path), GcPolicy()).removed == []
    for path in leftovers:
        os.utime(path, (time.time() - ABANDONED_S - 60,) * 2)
    assert sorted(gc(Home(tmp_path), GcPolicy()).removed) == sorted(map(str, leftovers))
    assert packs(tmp_path) == 4


def test_packs_that_are_mostly_dead_are_copied_without_the_dead(tmp_path: Path) -> None:
    store, entry = Hdf5Store(tmp_path), entry_of(0, 10)
    store.put([entry])
    index = store.index(entry.signature.digest)
    assert index is not None
    dead = tuple(unit_digest(entry.media, unit) for unit in entry.units[:7])
    assert index.commit(DamageRecord(index.packs[0].pack, dead, "test"))
    report = gc(Home(tmp_path), GcPolicy(grace_s=0))
    assert len(report.repacked) == 1
    assert len(list(store.keys())) == 3
    for key in entry.keys[7:]:
        row = entry.units.index(key.unit)
        main = entry.features.arrays["main"][row]
        assert Hdf5Store(tmp_path).get([key]).arrays["main"][0].tobytes() == main.tobytes()
    assert packs(tmp_path) == 1


def test_two_gc_at_once_are_as_good_as_one(tmp_path: Path) -> None:
    four_packs(tmp_path)
    make_old(tmp_path, 50 * HOUR_S)
    policy = GcPolicy(unused_for_s=HOUR_S, grace_s=0)

    def collect() -> None:
        gc(Home(tmp_path), policy)

    assert [exit_code(pid) for pid in [fork(collect) for _ in range(6)]] == [0] * 6
    gc(Home(tmp_path), policy)
    assert packs(tmp_path) == 0
    store = Hdf5Store(tmp_path)
    assert list(store.keys()) == []
    index = store.index(entry_of(0).signature.digest)
    assert index is not None
    drops = [index.log.read(seq) for seq in range(5, index.tail + 1)]
    assert sum(len(getattr(record, "packs", ())) for record in drops) == 4


def test_a_host_whose_clock_is_wrong_takes_nothing_too_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    four_packs(tmp_path)
    real_s = time.time
    for skew_s in (-1000 * HOUR_S, 1000 * HOUR_S):
        monkeypatch.setattr(time, "time", lambda skew_s=skew_s: real_s() + skew_s)
        report = gc(Home(tmp_path), GcPolicy(unused_for_s=HOUR_S, max_bytes=0))
        assert (report.dropped, report.removed) == ([], [])
    assert packs(tmp_path) == 4


def test_a_damaged_log_stops_gc(tmp_path: Path) -> None:
    four_packs(tmp_path)
    (namespace,) = StoreFolder(tmp_path).namespaces()
    namespace.record(2).write_bytes(b"")
    with pytest.raises(StoreError, match="verify"):
        gc(Home(tmp_path), GcPolicy(unused_for_s=0))


def test_negative_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes"):
        GcPolicy(max_bytes=-1)


def test_on_a_full_disk_what_is_due_is_removed_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    four_packs(tmp_path)
    make_old(tmp_path, 50 * HOUR_S)
    gc(Home(tmp_path), GcPolicy(max_bytes=15_000))
    assert packs(tmp_path) == 4
    make_old(tmp_path, 2 * HOUR_S, "*.json")

    def no_room(descriptor: int, data: object, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_room)
    with pytest.raises(StoreError, match="full"):
        gc(Home(tmp_path), GcPolicy(max_bytes=0))
    assert packs(tmp_path) == 1
