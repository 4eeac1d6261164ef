"""A read-only level under one's own store: who is asked, and that nothing is written there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from encodeonce.cache_store.coverage import coverage
from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.levels.leveled import LeveledStore
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.store import CorruptFeatures, MissingFeatures, StoreNotWritable
from tests.cache_store.stores import assert_is_content_of, content_of, entry_of
from tests.contracts.store import StoreContract, assert_same_bits

TAIL = (6, 16)


def files_of(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class TestLeveledStore(StoreContract):
    def open_store(self, folder: Path) -> LeveledStore:
        Hdf5Store(folder / "shared").folder.create()
        below = Hdf5Store(folder / "shared", read_only=True)
        return LeveledStore(Hdf5Store(folder / "own"), [below])


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A group's store: media 0 and 1, three units each."""
    Hdf5Store(tmp_path / "shared").put([entry_of(0, 3), entry_of(1, 3)])
    return tmp_path / "shared"


@pytest.fixture
def store(tmp_path: Path, shared: Path) -> Iterator[LeveledStore]:
    own = Hdf5Store(tmp_path / "own")
    own.put([entry_of(2, 3)])
    levels = LeveledStore(own, [Hdf5Store(shared, read_only=True)])
    yield levels
    levels.close()


def features_of(number: int, *frames: int) -> Features:
    units = tuple(f"frame:{frame}" for frame in frames)
    return content_of(entry_of(number).media, units, TAIL)


def test_what_either_level_has_is_there_and_one_read_may_need_both(
    store: LeveledStore, tmp_path: Path
) -> None:
    keys = entry_of(0, 4).keys
    assert store.find([*keys, *entry_of(2, 3).keys]) == [1, 1, 1, None, 0, 0, 0]
    Hdf5Store(tmp_path / "own").put([entry_of(0, 5)])
    assert store.find(keys) == [0, 0, 0, 0], "one's own comes first"


def test_units_of_both_levels_come_in_the_order_asked(tmp_path: Path, shared: Path) -> None:
    wide = entry_of(0, 5)
    part = type(wide)(
        signature=wide.signature,
        media=wide.media,
        units=wide.units[3:],
        features=features_of(0, 3, 4),
    )
    own = Hdf5Store(tmp_path / "own")
    own.put([part])
    store = LeveledStore(own, [Hdf5Store(shared, read_only=True)])
    order = (4, 0, 3, 2, 0)
    assert_same_bits(store.get([wide.keys[n] for n in order]), features_of(0, *order))
    assert store.num_below(wide.keys) == 3


def test_nothing_is_written_into_the_lower_level(store: LeveledStore, shared: Path) -> None:
    before = files_of(shared)
    store.get(entry_of(0, 3).keys)
    store.put([entry_of(3, 2), entry_of(1, 4)])
    with pytest.raises(MissingFeatures):
        store.get(entry_of(9, 1).keys)
    assert files_of(shared) == before
    with pytest.raises(StoreNotWritable, match="read only"):
        Hdf5Store(shared, read_only=True).put([entry_of(4, 1)])


def test_what_is_missing_is_named_and_no_more(store: LeveledStore) -> None:
    with pytest.raises(MissingFeatures) as caught:
        store.get(entry_of(0, 5).keys)
    assert [key.unit for key in caught.value.missing] == ["frame:3", "frame:4"]


def test_damage_in_the_lower_level_is_a_miss_that_is_not_written_there(
    store: LeveledStore, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (pack,) = shared.rglob("*.h5")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:1000])
    before = files_of(shared)
    keys = entry_of(0, 3).keys
    with pytest.raises(MissingFeatures):
        store.get(keys)
    assert "which is only read, set aside" in caplog.text
    assert set(coverage(store, keys).to_encode) == set(keys)
    assert files_of(shared) == before
    store.put([entry_of(0, 3)])
    assert_same_bits(store.get(keys), features_of(0, 0, 1, 2))


def test_damage_in_ones_own_is_an_error_and_then_read_below(
    store: LeveledStore, tmp_path: Path
) -> None:
    store.put([entry_of(0, 3)])
    packs = sorted((tmp_path / "own").rglob("*.h5"), key=lambda path: path.stat().st_mtime_ns)
    packs[-1].chmod(0o644)
    packs[-1].write_bytes(packs[-1].read_bytes()[:1000])
    keys = entry_of(0, 3).keys
    with pytest.raises(CorruptFeatures):
        store.get(keys)
    assert_same_bits(store.get(keys), features_of(0, 0, 1, 2))


def test_what_others_add_and_remove_below_is_seen(store: LeveledStore, shared: Path) -> None:
    (key,) = entry_of(7, 1).keys
    assert key not in store
    Hdf5Store(shared).put([entry_of(7, 1)])
    assert key in store
    assert_is_content_of(Hdf5Store(shared), key, TAIL)
    assert key in set(store.keys())


def test_keys_are_given_once(store: LeveledStore) -> None:
    store.put([entry_of(0, 3)])
    keys = list(store.keys())
    assert len(keys) == len(set(keys)) == 9
    assert all(isinstance(key, FeatureKey) for key in keys)
