"""A store in object storage: fsspec's memory in place of a server, which `test_s3.py` has."""

import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.levels.leveled import LeveledStore
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.objects.bucket import Bucket
from encodeonce.cache_store.objects.home import ObjectHome
from encodeonce.cache_store.objects.storage import MAX_GAP_BYTES, MAX_SPAN_BYTES, merged
from encodeonce.cache_store.store import (
    CorruptFeatures,
    MissingFeatures,
    StoreError,
    StoreNotWritable,
)
from tests.cache_store.stores import content_of, entry_of
from tests.contracts.object_maintenance import ObjectMaintenance
from tests.contracts.store import StoreContract, assert_same_bits

TAIL = (6, 16)


def open_at(url: str, folder: Path, read_only: bool = False) -> Hdf5Store:
    home = ObjectHome(url, folder, read_only)
    return Hdf5Store(home.folder.root, home=home)


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/features"


def objects(url: str) -> dict[str, bytes]:
    fs = MemoryFileSystem()
    return {name: fs.cat_file(name) for name in fs.find("/" + url.partition("://")[2])}


class TestObjectStore(StoreContract):
    def open_store(self, folder: Path) -> Hdf5Store:
        return open_at(f"memory://tests{folder}", folder / "copy")


class TestMaintenance(ObjectMaintenance):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4().hex}/features"


def test_machines_that_share_nothing_else_share_the_store(url: str, tmp_path: Path) -> None:
    here, there = (open_at(url, tmp_path / name) for name in ("here", "there"))
    key = entry_of(0, 3).keys[0]
    assert key not in there
    here.put([entry_of(0, 3)])
    assert_same_bits(there.get(entry_of(0, 3).keys), entry_of(0, 3).features)
    there.put([entry_of(1, 2)])
    assert set(here.keys()) == {*entry_of(0, 3).keys, *entry_of(1, 2).keys}
    assert not list(tmp_path.rglob("*.h5")), "no pack stays on a local disk"


def test_who_is_first_wins_and_the_other_pack_is_removed(url: str, tmp_path: Path) -> None:
    stores = [open_at(url, tmp_path / str(n)) for n in range(4)]
    begin = threading.Barrier(4)

    def put(store: Hdf5Store) -> None:
        begin.wait()
        store.put([entry_of(n, 2) for n in range(3)])

    threads = [threading.Thread(target=put, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(store.counters.written for store in stores) == 6
    assert sum(name.endswith(".h5") for name in objects(url)) == 1
    for store in stores:
        for n in range(3):
            assert_same_bits(store.get(entry_of(n, 2).keys), entry_of(n, 2).features)


def test_a_new_machine_reads_the_log_once(url: str, tmp_path: Path) -> None:
    writer = open_at(url, tmp_path / "writer")
    for n in range(5):
        writer.put([entry_of(n, 1)])
    reader = open_at(url, tmp_path / "reader")
    assert len(list(reader.keys())) == 5
    assert len(list((tmp_path / "reader").rglob("log/*/*.json"))) == 5
    calls: list[Any] = []
    again = open_at(url, tmp_path / "reader")
    plain = again._home._bucket.get_all  # type: ignore[attr-defined]
    again._home._bucket.get_all = lambda names: calls.extend(names) or plain(names)  # type: ignore[attr-defined]
    assert len(list(again.keys())) == 5
    assert calls == []


def test_a_damaged_copy_of_a_record_is_fetched_again(url: str, tmp_path: Path) -> None:
    open_at(url, tmp_path / "a").put([entry_of(0, 2)])
    (record,) = (tmp_path / "a").rglob("log/*/*.json")
    record.write_bytes(b"{}\n")
    store = open_at(url, tmp_path / "a")
    assert_same_bits(store.get(entry_of(0, 2).keys), entry_of(0, 2).features)


def test_a_record_that_can_be_neither_written_nor_read_is_no_endless_loop(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_at(url, tmp_path)
    store.put([entry_of(0, 1)])
    plain = Bucket.create

    def create(bucket: Bucket, name: str, data: bytes) -> bool:
        return "/log/" not in name and plain(bucket, name, data)

    monkeypatch.setattr(Bucket, "create", create)
    with pytest.raises(StoreError, match="000000002.json exists for writing but not for reading"):
        store.put([entry_of(1, 1)])


def test_damage_of_a_pack_is_found_noted_and_encoded_again(url: str, tmp_path: Path) -> None:
    store = open_at(url, tmp_path / "a")
    store.put([entry_of(0, 2)])
    (name,) = (name for name in objects(url) if name.endswith(".h5"))
    MemoryFileSystem().pipe_file(name, objects(url)[name][:3000])
    with pytest.raises(CorruptFeatures):
        store.get(entry_of(0, 2).keys)
    other = open_at(url, tmp_path / "b")
    with pytest.raises(MissingFeatures):
        other.get(entry_of(0, 2).keys)
    other.put([entry_of(0, 2)])
    assert_same_bits(store.get(entry_of(0, 2).keys), entry_of(0, 2).features)


def test_a_level_in_object_storage_that_is_only_read_stays_as_it_is(
    url: str, tmp_path: Path
) -> None:
    open_at(url, tmp_path / "theirs").put([entry_of(0, 3)])
    before = objects(url)
    below = open_at(url, tmp_path / "mine", read_only=True)
    store = LeveledStore(Hdf5Store(tmp_path / "own"), [below])
    store.put([entry_of(1, 1)])
    assert_same_bits(store.get(entry_of(0, 3).keys), entry_of(0, 3).features)
    with pytest.raises(StoreNotWritable):
        below.put([entry_of(2, 1)])
    assert objects(url) == before


def test_some_units_are_read_in_few_ranges(url: str, tmp_path: Path) -> None:
    store = open_at(url, tmp_path / "a")
    store.put([entry_of(0, 40)])
    asked: list[Any] = []
    index = store.index(entry_of(0, 40).signature.digest)
    assert index is not None
    bucket = index.storage._bucket  # type: ignore[attr-defined]
    plain = bucket.get_ranges
    bucket.get_ranges = lambda name, ranges: asked.extend(ranges) or plain(name, ranges)
    keys = entry_of(0, 40).keys
    picked = store.get([keys[n] for n in (30, 3, 17)])
    units = tuple(f"frame:{n}" for n in (30, 3, 17))
    assert_same_bits(picked, content_of(keys[0].media, units, TAIL))
    assert len(asked) == 1


def test_ranges_far_apart_are_read_apart_and_large_ones_in_parts() -> None:
    far = 10 * MAX_GAP_BYTES
    assert merged([(far, far + 5), (0, 10), (8, 20)]) == [(0, 20), (far, far + 5)]
    parts = [(n * 2**20, (n + 1) * 2**20) for n in range(100)]
    spans = merged(parts)
    assert (spans[0][0], spans[-1][1]) == (0, 100 * 2**20)
    assert all(end - start <= MAX_SPAN_BYTES for start, end in spans)
    assert len(spans) == 4


def test_a_copy_is_refused_instead_of_missing_its_packs(url: str, tmp_path: Path) -> None:
    store = open_at(url, tmp_path)
    store.put([entry_of(0, 1)])
    with pytest.raises(StoreError, match=f"only a copy of a log.*{url}: name"):
        verify(Home(store.folder.root))
    assert_same_bits(store.get(entry_of(0, 1).keys), entry_of(0, 1).features)


@pytest.mark.parametrize("url", ["s3:", "s3://", "ftp://host/x", "file:///tmp/x", "bucket/x"])
def test_what_is_no_object_storage_is_refused_in_words(url: str) -> None:
    with pytest.raises(StoreError, match="write s3://BUCKET/PREFIX"):
        Bucket(url)


def test_an_object_is_made_once(url: str) -> None:
    bucket = Bucket(url)
    assert bucket.create("a/b", b"first")
    assert not bucket.create("a/b", b"second")
    assert bucket.get("a/b") == b"first"
    assert bucket.get("a/c") is None
    assert bucket.names("a") == ["a/b"]
    assert bucket.names("nothing") == []
