"""Failing disks, permissions and files: clear errors, and nothing is lost."""

import errno
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from encodeonce.cache_store.durable import READING, explain
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.store import (
    CorruptFeatures,
    MissingFeatures,
    StoreError,
    StoreNotWritable,
)
from tests.cache_store.stores import assert_is_content_of, entry_of, exit_code, fork
from tests.contracts.store import assert_same_bits

NOBODY = 65534


def test_a_full_disk_is_a_clear_error_and_the_same_put_works_later(tmp_path: Path) -> None:
    """A limit on the size of files makes real writes fail in the middle of a pack."""
    first, second = entry_of(0), entry_of(1, 4, (64, 256))
    Hdf5Store(tmp_path).put([first])

    def fill_up() -> None:
        store = Hdf5Store(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
        for _ in range(3):  # and again: nothing stays open or half-made in this process
            with pytest.raises(StoreError, match=r"full.*gc.*repeat"):
                store.put([second])
        assert not list(tmp_path.rglob("*.tmp"))
        assert_same_bits(store.get(first.keys), first.features)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.put([second])
        assert_same_bits(store.get(second.keys), second.features)

    assert exit_code(fork(fill_up)) == 0
    assert verify(Home(tmp_path)).clean


@pytest.mark.parametrize("failing_call", range(8))
def test_a_put_that_fails_at_any_sync_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int
) -> None:
    store, entry = Hdf5Store(tmp_path), entry_of(1)
    store.put([entry_of(0)])
    real, calls = os.fsync, []

    def fail_once(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing_call + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once)
    try:
        store.put([entry])
    except StoreError as error:
        assert "full" in str(error)
    monkeypatch.undo()
    store.put([entry])
    for each in (store, Hdf5Store(tmp_path)):
        assert_same_bits(each.get(entry.keys), entry.features)
    assert verify(Home(tmp_path)).damaged_units == []


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A store with one entry where, after `become_nobody`, nothing can be written."""
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    Hdf5Store(place / "store").put([entry_of(0)])
    folders = [path for path in place.rglob("*") if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    yield place / "store"
    for folder in folders:
        folder.chmod(0o755)


def become_nobody(place: Path) -> None:
    os.chdir(place)  # the path above belongs to whoever runs the tests
    if os.getuid() == 0:  # root may write anywhere
        os.setuid(NOBODY)


def test_a_read_only_store_can_be_read_and_refuses_writers(read_only: Path) -> None:
    entry = entry_of(0)

    def use() -> None:
        become_nobody(read_only.parent)
        store = Hdf5Store("store", num_threads=1)
        assert_same_bits(store.get(entry.keys), entry.features)
        with pytest.raises(StoreError, match="no permission to write"):
            store.put([entry_of(1)])
        assert verify(Home(Path("store"))).clean

    assert exit_code(fork(use)) == 0


def test_damage_in_a_read_only_store_is_not_served_either(read_only: Path) -> None:
    (pack,) = read_only.rglob("*.h5")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:700])

    def use() -> None:
        become_nobody(read_only.parent)
        store = Hdf5Store("store", num_threads=1)
        for _ in range(2):
            with pytest.raises(CorruptFeatures):
                store.get(entry_of(0).keys)

    assert exit_code(fork(use)) == 0


def test_a_pack_that_vanished_is_reported_and_its_units_are_encoded_again(tmp_path: Path) -> None:
    entry, other = entry_of(0), entry_of(1)
    writer = Hdf5Store(tmp_path)
    writer.put([entry])
    (pack,) = tmp_path.rglob("*.h5")
    writer.put([other])
    pack.unlink()
    store = Hdf5Store(tmp_path)
    with pytest.raises(CorruptFeatures, match="vanished"):
        store.get(entry.keys)
    assert_same_bits(store.get(other.keys), other.features)
    with pytest.raises(MissingFeatures):
        store.get(entry.keys)
    store.put([entry])
    assert_same_bits(store.get(entry.keys), entry.features)


def test_a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    Hdf5Store(tmp_path).put([entry_of(0)])
    header = tmp_path / "store.json"
    header.write_text('{"format":2,"requires":[]}')
    with pytest.raises(StoreError, match=r"format 2.*reads format 1"):
        Hdf5Store(tmp_path)
    header.write_text('{"format":1,"requires":["holograms"]}')
    with pytest.raises(StoreError, match=r"holograms.*newer version"):
        Hdf5Store(tmp_path)


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="in the way.*remove it, or name another folder"):
        Hdf5Store(tmp_path / "store").put([entry_of(0)])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_what_refuses_every_writer_is_told_from_what_one_reader_meets(number: int) -> None:
    error = OSError(number, os.strerror(number))
    assert isinstance(explain(error, "writing", Path("x")), StoreNotWritable)
    for doing in READING:
        found = explain(error, doing, Path("x"))
        assert not isinstance(found, StoreNotWritable)
        assert "to write here" not in str(found)


def test_an_entry_that_cannot_be_stored_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    good = entry_of(0)
    bad = replace(good, provenance={"path": tmp_path})
    with pytest.raises(ValueError, match="canonical JSON"):
        Hdf5Store(tmp_path / "store").put([good, bad])
    assert not (tmp_path / "store").exists()


def test_units_written_before_a_crash_of_the_machine_are_adopted_or_swept_never_half_read(
    tmp_path: Path,
) -> None:
    """A pack without a record (killed in between) is invisible, and does no harm."""
    store, entry = Hdf5Store(tmp_path), entry_of(0)
    store.put([entry])
    (record,) = tmp_path.rglob("log/*/*.json")
    record.unlink()
    fresh = Hdf5Store(tmp_path)
    assert entry.keys[0] not in fresh
    fresh.put([entry])
    assert_is_content_of(fresh, entry.keys[0], (6, 16))
    assert len(verify(Home(tmp_path)).uncommitted) == 1
