"""What `gc`, `verify`, `export` and `import` do to a store in object storage, whatever its kind."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.log import DamageRecord
from encodeonce.cache_store.maintenance import gc as gc_module
from encodeonce.cache_store.maintenance.gc import ABANDONED_S, GcPolicy, gc
from encodeonce.cache_store.maintenance.library import FeatureStore
from encodeonce.cache_store.maintenance.stat import ls, stat
from encodeonce.cache_store.maintenance.transfer import export_store, import_store
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.objects.bucket import Bucket
from encodeonce.cache_store.objects.home import ObjectHome
from encodeonce.cache_store.objects.storage import MAX_SPAN_BYTES, ObjectStorage
from encodeonce.cache_store.storage import Stored
from encodeonce.cache_store.store import CorruptFeatures, StoreError
from encodeonce.cache_store.unit_table import unit_digest
from tests.cache_store.stores import entry_of
from tests.contracts.store import assert_same_bits

HOUR_S = 3600.0
Age = Callable[..., None]
WRITES = ("create", "put", "put_all", "upload", "remove")


class Killed(BaseException):
    """Ends a gc in the middle, as a signal does: nothing of it catches this."""


def open_at(url: str, folder: Path) -> Hdf5Store:
    home = ObjectHome(url, folder)
    return Hdf5Store(home.folder.root, home=home)


def packs(url: str) -> list[str]:
    return [name for name in Bucket(url).names("ns") if name.endswith(".h5")]


def contents(url: str) -> dict[str, bytes | None]:
    bucket = Bucket(url)
    return {name: bucket.get(name) for name in bucket.names("")}


def index_of(store: Hdf5Store) -> NamespaceIndex:
    index = store.index(entry_of(0).signature.digest)
    assert index is not None
    return index


def flip(url: str, name: str, offset: int) -> None:
    bucket = Bucket(url)
    data = bytearray(bucket.get(name) or b"")
    data[offset] ^= 1
    bucket.put(name, bytes(data))


def four_packs(url: str, folder: Path) -> Hdf5Store:
    store = open_at(url, folder)
    for number in range(4):
        store.put([entry_of(number)])
    return store


def assert_has(store: Hdf5Store, numbers: list[int]) -> None:
    for number in numbers:
        assert_same_bits(store.get(entry_of(number).keys), entry_of(number).features)


class ObjectMaintenance(ABC):
    """Inherited for each kind of object storage; ``url`` is of a store that does not exist yet."""

    @pytest.fixture
    @abstractmethod
    def url(self) -> str: ...

    @pytest.fixture
    def home(self, url: str, tmp_path: Path) -> Callable[[], Home]:
        return lambda: ObjectHome(url, tmp_path / "gc")

    @pytest.fixture
    def age(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Age]:
        """Let what is there now, and has a name with some text in it, look older than it is."""
        ages: dict[str, float] = {}
        plain = Bucket.listing

        def listing(bucket: Bucket, prefix: str) -> dict[str, Stored]:
            return {
                name: replace(one, written_s=one.written_s - ages.get(f"{bucket.url}/{name}", 0))
                for name, one in plain(bucket, prefix).items()
            }

        def age(url: str, age_s: float, text: str = "") -> None:
            found = [name for name in plain(Bucket(url), "") if text in name]
            ages.update({f"{url}/{name}": age_s for name in found})

        monkeypatch.setattr(Bucket, "listing", listing)
        yield age

    def test_the_servers_clock_and_its_times_agree(self, url: str, tmp_path: Path) -> None:
        storage = index_of(four_packs(url, tmp_path)).storage
        now_s = storage.now_s()
        assert {one.written_s <= now_s + 1 for one in storage.packs().values()} == {True}
        assert max(now_s - one.written_s for one in storage.packs().values()) < 60
        assert [name for name in Bucket(url).names("") if "clock" in name] == []

    def test_without_rules_nothing_that_is_of_use_goes(
        self, url: str, home: Callable[[], Home], tmp_path: Path, age: Age
    ) -> None:
        four_packs(url, tmp_path)
        age(url, 1000 * HOUR_S)
        report = gc(home(), GcPolicy())
        assert (report.dropped, report.removed) == ([], [])
        assert len(packs(url)) == 4

    def test_what_was_not_used_for_long_goes_and_its_object_follows_after_the_grace(
        self, url: str, home: Callable[[], Home], tmp_path: Path, age: Age
    ) -> None:
        store = four_packs(url, tmp_path / "writer")
        age(url, 50 * HOUR_S)
        open_at(url, tmp_path / "reader").get(entry_of(2).keys)  # on another machine
        policy = GcPolicy(unused_for_s=40 * HOUR_S)
        report = gc(home(), policy)
        assert len(report.dropped) == 3
        assert len(packs(url)) == 4
        assert [entry_of(n).keys[0] in store for n in range(4)] == [False, False, True, False]
        assert gc(home(), policy).removed == []  # the grace is not over
        age(url, 2 * HOUR_S, "/log/")
        later = gc(home(), policy)
        assert later.removed_bytes == report.dropped_bytes
        assert len(packs(url)) == 1
        assert_has(store, [2])
        assert verify(home()).clean
        store.put([entry_of(0)])
        assert_has(store, [0, 2])

    def test_the_size_cap_takes_the_least_recently_used_first(
        self, url: str, home: Callable[[], Home], tmp_path: Path, age: Age
    ) -> None:
        four_packs(url, tmp_path / "writer")
        age(url, 50 * HOUR_S)
        reader = open_at(url, tmp_path / "reader")
        assert_has(reader, [1, 3])
        age(url, 3 * HOUR_S, "/used/")
        size = max(one.num_bytes for one in Bucket(url).listing("ns").values())
        report = gc(home(), GcPolicy(max_bytes=2 * size))
        assert len(report.dropped) == 2
        assert [entry_of(n).keys[0] in reader for n in range(4)] == [False, True, False, True]

    def test_a_dry_run_says_the_same_and_changes_nothing(
        self, url: str, home: Callable[[], Home], tmp_path: Path, age: Age
    ) -> None:
        four_packs(url, tmp_path)
        age(url, 50 * HOUR_S)
        before = contents(url)
        said = gc(home(), GcPolicy(unused_for_s=HOUR_S, dry_run=True))
        assert contents(url) == before
        done = gc(home(), GcPolicy(unused_for_s=HOUR_S))
        assert [c.pack for c in said.dropped] == [c.pack for c in done.dropped]
        assert len(done.dropped) == 4

    def test_packs_that_nobody_committed_go_a_day_later(
        self, url: str, home: Callable[[], Home], tmp_path: Path, age: Age
    ) -> None:
        store = four_packs(url, tmp_path)
        left = index_of(store).namespace.pack("ab" * 16).relative_to(store.folder.root).as_posix()
        Bucket(url).put(left, b"half")
        assert verify(home()).uncommitted == [f"{url}/{left}"]
        assert gc(home(), GcPolicy()).removed == []
        age(url, ABANDONED_S + 60, left)
        assert gc(home(), GcPolicy()).removed == [f"{url}/{left}"]
        assert len(packs(url)) == 4

    def test_packs_that_are_mostly_dead_are_copied_without_the_dead(
        self, url: str, home: Callable[[], Home], tmp_path: Path
    ) -> None:
        store, entry = open_at(url, tmp_path / "a"), entry_of(0, 10)
        store.put([entry])
        index = index_of(store)
        dead = tuple(unit_digest(entry.media, unit) for unit in entry.units[:7])
        assert index.commit(DamageRecord(index.packs[0].pack, dead, "test"))
        assert len(gc(home(), GcPolicy(grace_s=0)).repacked) == 1
        assert len(packs(url)) == 1
        main = open_at(url, tmp_path / "b").get(entry.keys[7:]).arrays["main"]
        assert main.tobytes() == entry.features.arrays["main"][7:].tobytes()
        assert not list(tmp_path.rglob("*.h5")), "no pack stays on a local disk"

    def test_what_is_committed_while_gc_drops_is_not_lost(
        self,
        url: str,
        home: Callable[[], Home],
        tmp_path: Path,
        age: Age,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        four_packs(url, tmp_path / "old")
        age(url, 50 * HOUR_S)
        writer, plain, calls = open_at(url, tmp_path / "writer"), Bucket.create, list[str]()

        def create(bucket: Bucket, name: str, data: bytes) -> bool:
            if "/log/" in name and not calls:
                calls.append(name)
                writer.put([entry_of(7)])  # takes the number that gc wanted
            return plain(bucket, name, data)

        monkeypatch.setattr(Bucket, "create", create)
        report = gc(home(), GcPolicy(unused_for_s=HOUR_S, grace_s=0.0))
        assert calls
        assert len(report.dropped) == 4
        assert_has(open_at(url, tmp_path / "reader"), [7])
        assert verify(home()).clean

    def test_what_is_used_while_gc_chooses_stays(
        self,
        url: str,
        home: Callable[[], Home],
        tmp_path: Path,
        age: Age,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        four_packs(url, tmp_path / "old")
        age(url, 50 * HOUR_S)
        reader, plain = open_at(url, tmp_path / "reader"), gc_module._choose

        def choose(*given: Any) -> Any:
            chosen = plain(*given)
            assert_has(reader, [1])
            reader.put([entry_of(3)])  # a writer that finds it there relies on it
            return chosen

        monkeypatch.setattr(gc_module, "_choose", choose)
        assert len(gc(home(), GcPolicy(unused_for_s=HOUR_S)).dropped) == 2
        assert_has(open_at(url, tmp_path / "another"), [1, 3])

    def test_writers_and_gc_at_the_same_time_lose_nothing_that_is_in_use(
        self, url: str, home: Callable[[], Home], tmp_path: Path, age: Age
    ) -> None:
        four_packs(url, tmp_path / "old")
        age(url, 50 * HOUR_S)
        begin, failed = threading.Barrier(3), list[BaseException]()

        def write(first: int) -> None:
            begin.wait()
            try:
                store = open_at(url, tmp_path / str(first))
                for number in range(first, first + 6):
                    store.put([entry_of(number)])
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=write, args=(first,)) for first in (10, 13)]
        for thread in threads:
            thread.start()
        begin.wait()
        while any(thread.is_alive() for thread in threads):
            gc(home(), GcPolicy(unused_for_s=HOUR_S, max_bytes=0))
        assert failed == []
        gc(home(), GcPolicy(unused_for_s=HOUR_S))
        reader = open_at(url, tmp_path / "reader")
        assert {key.media for key in reader.keys()} == {entry_of(n).media for n in range(10, 19)}  # noqa: SIM118
        assert_has(reader, list(range(10, 19)))
        assert verify(home()).clean

    def test_a_gc_killed_at_any_write_leaves_a_whole_store_and_the_next_goes_on(
        self, url: str, home: Callable[[], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        policy, plain = GcPolicy(grace_s=0), {name: getattr(Bucket, name) for name in WRITES}
        at = ends = 0
        while not ends:
            place = f"{url}/{at}"
            store, entry = open_at(place, tmp_path / f"w{at}"), entry_of(0, 10)
            store.put([entry])
            store.put([entry_of(1)])
            index = index_of(store)
            dead = tuple(unit_digest(entry.media, unit) for unit in entry.units[:7])
            assert index.commit(DamageRecord(index.packs[0].pack, dead, "test"))
            store.put([entry_of(0, 7)])
            left = at

            def write(name: str, *given: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return plain[name](*given)

            with monkeypatch.context() as patch:
                for name in WRITES:
                    patch.setattr(
                        Bucket,
                        name,
                        lambda bucket, *given, name=name: write(name, bucket, *given),
                    )
                try:
                    gc(ObjectHome(place, tmp_path / f"g{at}"), policy)
                    ends = at
                except Killed:
                    pass
            other = ObjectHome(place, tmp_path / f"v{at}")
            assert verify(other).clean
            gc(other, policy)
            assert_same_bits(open_at(place, tmp_path / f"r{at}").get(entry.keys), entry.features)
            assert len(packs(place)) == 3 + (len(verify(other).uncommitted) > 0)
            at += 1
        assert ends > 5, "it wrote little before it was killed"

    def test_a_flipped_byte_is_found_and_its_unit_named(
        self, url: str, home: Callable[[], Home], tmp_path: Path
    ) -> None:
        store, entry = open_at(url, tmp_path), entry_of(0, 3)
        store.put([entry])
        offsets = index_of(store).manifest(0).tables[0].arrays[0].parts[0].chunks["offset"]
        progress: list[tuple[int, int]] = []
        assert verify(home(), lambda done, total: progress.append((done, total))).clean
        assert 0 < progress[0][0] < progress[-1][0] <= progress[-1][1]
        flip(url, packs(url)[0], int(offsets[2]) + 9)
        report = verify(home())
        assert report.damaged_units == [entry.keys[2]]
        assert verify(home()).num_known_damaged == 1
        assert [key in store for key in entry.keys] == [True, True, False]
        store.put([entry])
        assert verify(home()).clean
        assert_same_bits(open_at(url, tmp_path / "b").get(entry.keys), entry.features)

    def test_a_pack_that_is_cut_off_or_gone_is_damage_and_no_error(
        self, url: str, home: Callable[[], Home], tmp_path: Path
    ) -> None:
        store = open_at(url, tmp_path)
        for number in range(3):
            store.put([entry_of(number)])
        index = index_of(store)
        names = [index.where(number).removeprefix(f"{url}/") for number in range(3)]
        bucket = Bucket(url)
        bucket.put(names[0], (bucket.get(names[0]) or b"")[:2000])
        bucket.remove(names[1])
        with pytest.raises(CorruptFeatures):
            open_at(url, tmp_path / "reader").get(entry_of(0).keys)
        report = verify(home())
        assert {key.media for key in report.damaged_units} == {entry_of(1).media}
        assert report.num_known_damaged == 2
        assert_has(store, [2])

    def test_a_damaged_hdf5_structure_is_made_anew(
        self, url: str, home: Callable[[], Home], tmp_path: Path
    ) -> None:
        open_at(url, tmp_path / "a").put([entry_of(0)])
        flip(url, packs(url)[0], 0)
        report = verify(home())
        assert [text for text in report.repaired if url in text and "new pack" in text]
        assert len(packs(url)) == 2
        assert verify(home()).clean
        assert_has(open_at(url, tmp_path / "b"), [0])

    def test_damaged_records_are_rebuilt_for_every_machine(
        self, url: str, home: Callable[[], Home], tmp_path: Path
    ) -> None:
        store = four_packs(url, tmp_path / "a")
        records = [name for name in Bucket(url).names("ns") if "/log/" in name]
        flip(url, records[1], 50)
        Bucket(url).put(records[2], b"")
        new = open_at(url, tmp_path / "new")
        assert_has(new, [0, 1, 2, 3])  # by what the packs say themselves
        with pytest.raises(StoreError, match="verify"):
            gc(home(), GcPolicy(unused_for_s=0))
        report = verify(ObjectHome(url, tmp_path / "c"))
        assert len(report.repaired) == 2
        assert report.damaged_units == []
        assert verify(ObjectHome(url, tmp_path / "d")).clean
        assert verify(ObjectHome(url, tmp_path / "c")).clean
        for again in (open_at(url, tmp_path / "new"), store):
            assert_has(again, [0, 1, 2, 3])
        assert len([name for name in Bucket(url).names("ns") if "/quarantine/" in name]) == 2

    def test_a_damaged_signature_is_restored_from_a_pack(
        self, url: str, home: Callable[[], Home], tmp_path: Path
    ) -> None:
        entry = entry_of(0)
        open_at(url, tmp_path).put([entry])
        (name,) = (name for name in Bucket(url).names("ns") if name.endswith("/signature.json"))
        whole = Bucket(url).get(name)
        flip(url, name, 4)
        assert [text for text in verify(home()).repaired if "signature" in text]
        assert Bucket(url).get(name) == whole

    def test_packs_are_verified_by_ranges_of_bounded_size(
        self,
        url: str,
        home: Callable[[], Home],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        store = open_at(url, tmp_path)
        store.put([replace(entry_of(0, 3), features=_large(3))])
        asked: list[tuple[int, int]] = []
        plain = Bucket.get_ranges

        def get_ranges(bucket: Bucket, name: str, ranges: Any) -> list[bytes]:
            asked.extend(ranges)
            return plain(bucket, name, ranges)

        monkeypatch.setattr(Bucket, "get_ranges", get_ranges)
        report = verify(home())
        assert report.clean
        assert report.num_bytes > MAX_SPAN_BYTES
        assert max(end - start for start, end in asked) <= MAX_SPAN_BYTES

    def test_it_is_listed_and_read_by_its_url(self, url: str, tmp_path: Path) -> None:
        four_packs(url, tmp_path / "a")
        home = ObjectHome(url, tmp_path / "b")
        (found,) = stat(home)
        assert (found.num_media, found.num_units, found.num_packs) == (4, 8, 4)
        assert found.signature["tower"] == "clip"
        listed = list(ls(home, media=entry_of(1).media[:9]))
        assert [one.media for one in listed] == [entry_of(1).media]
        with FeatureStore(url, copies=tmp_path / "c") as store:
            got = store.get(entry_of(1).media)
        assert np.array_equal(got.arrays["main"], entry_of(1).features.arrays["main"])

    def test_it_is_exported_and_imported_elsewhere(
        self, url: str, home: Callable[[], Home], tmp_path: Path
    ) -> None:
        store = open_at(url, tmp_path / "a")
        store.put([entry_of(number, 3) for number in range(4)])
        assert export_store(home(), tmp_path / "all.tar").num_units == 12
        sent = export_store(home(), tmp_path / "part.tar", media={entry_of(1).media})
        assert sent.num_units == 3
        import_store(Home(tmp_path / "folder"), tmp_path / "all.tar")
        assert set(Hdf5Store(tmp_path / "folder").keys()) == set(store.keys())
        back = ObjectHome(f"{url}/back", tmp_path / "b")
        assert import_store(back, tmp_path / "part.tar").num_units == 3
        received = import_store(back, tmp_path / "all.tar")
        assert (received.num_units, received.num_skipped) == (9, 3)
        again = open_at(f"{url}/back", tmp_path / "c")
        for number in range(4):
            entry = entry_of(number, 3)
            assert_same_bits(again.get(entry.keys), entry.features)
        assert verify(back).clean
        assert not [path for path in tmp_path.rglob("*.h5") if "folder" not in str(path)]

    def test_damage_stops_the_export(
        self, url: str, home: Callable[[], Home], tmp_path: Path
    ) -> None:
        store = open_at(url, tmp_path / "a")
        store.put([entry_of(0, 3)])
        offsets = index_of(store).manifest(0).tables[0].arrays[0].parts[0].chunks["offset"]
        flip(url, packs(url)[0], int(offsets[1]) + 5)
        with pytest.raises(CorruptFeatures, match=f"{url}.*damaged.*verify"):
            export_store(home(), tmp_path / "all.tar")
        assert not (tmp_path / "all.tar").exists()

    def test_where_there_is_no_store_that_is_said(self, url: str, home: Callable[[], Home]) -> None:
        for act in (verify, stat, lambda home: gc(home, GcPolicy())):
            with pytest.raises(StoreError, match=f"no feature store at {url}"):
                act(home())

    def test_uses_are_noted_once_in_a_while(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        four_packs(url, tmp_path / "a")
        noted: list[str] = []
        plain = Bucket.put_all

        def put_all(bucket: Bucket, objects: dict[str, bytes]) -> None:
            noted.extend(objects)
            plain(bucket, objects)

        monkeypatch.setattr(Bucket, "put_all", put_all)
        for _ in range(2):  # two processes of one machine
            reader = open_at(url, tmp_path / "reader")
            for _ in range(2):
                assert_has(reader, [0, 1])
        assert len(noted) == 2
        assert isinstance(index_of(reader).storage, ObjectStorage)


def _large(num_units: int) -> Any:
    """Return features of 20 MiB a unit that do not compress."""
    from encodeonce.cache_store.features import Features

    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, (num_units, 1024, 5 * 1024), dtype=np.uint32)
    return Features({"main": bits.view(np.float32)})
