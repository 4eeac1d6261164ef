"""Contract of every `FeatureStore`. A store's test class inherits this and gives `open_store`."""

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.signature import FeatureKey, Signature
from encodeonce.cache_store.store import Entry, FeatureStore, MissingFeatures

BIT_PATTERNS = {"bfloat16": np.uint16, "float16": np.uint16, "float32": np.uint32}


def a_signature(tower: str = "clip_vision_model", dtype: str = "bfloat16") -> Signature:
    return Signature(
        tower=tower,
        weights_sha256="ab" * 32,
        tap={"at": "tower", "layer": -2, "cls": "dropped"},
        preprocess={"size": [8, 8]},
        decoder="PyAV 18.1",
        dtype=dtype,
    )


def a_media(name: str = "clip") -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def some_features(num_units: int, seed: int = 0, tail: tuple[int, ...] = (6, 16)) -> Features:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((num_units, *tail), dtype=np.float32)
    return Features({"main": values.astype(ml_dtypes.bfloat16)})


def an_entry(
    units: tuple[str, ...] = ("frame:0", "frame:8", "frame:16"),
    media: str = "clip",
    seed: int = 0,
    tail: tuple[int, ...] = (6, 16),
) -> Entry:
    return Entry(
        signature=a_signature(),
        media=a_media(media),
        units=units,
        features=some_features(len(units), seed, tail),
        provenance={"host": "test"},
    )


def assert_same_bits(left: Features, right: Features) -> None:
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        other = right.arrays[name]
        assert array.dtype == other.dtype
        assert array.shape == other.shape
        assert array.tobytes() == other.tobytes()


class StoreContract(ABC):
    @abstractmethod
    def open_store(self, folder: Path) -> FeatureStore:
        """Return a store; one that lasts shows in it what an earlier one put into ``folder``."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> FeatureStore:
        return self.open_store(tmp_path / "store")

    def test_an_empty_store_has_nothing(self, store: FeatureStore) -> None:
        key = an_entry().keys[0]
        assert key not in store
        assert list(store.keys()) == []
        with pytest.raises(MissingFeatures):
            store.get([key])

    def test_what_was_put_comes_back(self, store: FeatureStore) -> None:
        entry = an_entry()
        store.put([entry])
        assert all(key in store for key in entry.keys)
        assert_same_bits(store.get(entry.keys), entry.features)
        assert set(store.keys()) == set(entry.keys)

    @pytest.mark.parametrize("dtype", sorted(BIT_PATTERNS))
    def test_every_bit_pattern_survives(self, store: FeatureStore, dtype: str) -> None:
        # All 65,536 values of the 16-bit types: NaN payloads, -0.0, infinities, subnormals.
        bits = np.arange(1 << 16, dtype=BIT_PATTERNS[dtype])
        if dtype == "float32":
            bits = bits * np.uint32(65_537)
        array = bits.view(dtype if dtype != "bfloat16" else ml_dtypes.bfloat16)
        entry = Entry(
            signature=a_signature(dtype=dtype),
            media=a_media(),
            units=("frame:0", "frame:1"),
            features=Features({"main": array.reshape(2, 128, 256)}),
        )
        store.put([entry])
        assert_same_bits(store.get(entry.keys), entry.features)

    def test_some_units_in_another_order(self, store: FeatureStore) -> None:
        entry = an_entry()
        store.put([entry])
        picked = store.get([entry.keys[2], entry.keys[0]])
        assert_same_bits(picked, Features({"main": entry.features.arrays["main"][[2, 0]]}))

    def test_a_unit_may_be_asked_for_twice(self, store: FeatureStore) -> None:
        entry = an_entry()
        store.put([entry])
        twice = store.get([entry.keys[1], entry.keys[1]])
        assert_same_bits(twice, Features({"main": entry.features.arrays["main"][[1, 1]]}))

    def test_several_arrays_of_one_unit(self, store: FeatureStore) -> None:
        arrays = {
            "main": some_features(2, seed=1).arrays["main"],
            "deepstack_0": some_features(2, seed=2, tail=(3, 8)).arrays["main"],
            "weights": np.ones((2, 5), np.float32),
            "flag": np.array([1, 2], np.float16),
        }
        entry = Entry(
            signature=a_signature(),
            media=a_media(),
            units=("frame:0", "frame:1"),
            features=Features(arrays),
        )
        store.put([entry])
        assert_same_bits(store.get(entry.keys), entry.features)

    def test_arrays_that_are_views_are_stored_as_they_look(self, store: FeatureStore) -> None:
        wide = some_features(3, tail=(16, 12)).arrays["main"]
        view = wide.transpose(0, 2, 1)[:, ::2]
        entry = Entry(
            signature=a_signature(),
            media=a_media(),
            units=("a", "b", "c"),
            features=Features({"main": view}),
        )
        store.put([entry])
        assert_same_bits(store.get(entry.keys), Features({"main": view}))

    def test_one_put_of_many_images_of_different_shapes(self, store: FeatureStore) -> None:
        entries = [
            an_entry(("image",), media=f"image-{i}", seed=i, tail=(3 + i % 4, 16))
            for i in range(12)
        ]
        store.put(entries)
        for entry in entries:
            assert_same_bits(store.get(entry.keys), entry.features)

    def test_the_second_writer_of_a_unit_changes_nothing(self, store: FeatureStore) -> None:
        first, second = an_entry(seed=1), an_entry(seed=2)
        store.put([first])
        store.put([second])
        assert_same_bits(store.get(first.keys), first.features)
        assert (store.counters.written, store.counters.skipped) == (3, 3)

    def test_a_unit_twice_in_one_put_is_stored_once(self, store: FeatureStore) -> None:
        first, second = an_entry(seed=1), an_entry(seed=2)
        store.put([first, second])
        assert_same_bits(store.get(first.keys), first.features)
        assert sorted(store.keys()) == sorted(first.keys)

    def test_a_later_put_adds_the_units_that_are_missing(self, store: FeatureStore) -> None:
        all_units = some_features(4)
        main = all_units.arrays["main"]
        few = Entry(
            signature=a_signature(),
            media=a_media(),
            units=("0", "2"),
            features=Features({"main": main[[0, 2]]}),
        )
        many = Entry(
            signature=a_signature(),
            media=a_media(),
            units=("0", "1", "2", "3"),
            features=all_units,
        )
        store.put([few])
        store.put([many])
        assert_same_bits(store.get(many.keys), all_units)
        assert (store.counters.written, store.counters.skipped) == (4, 2)

    def test_every_absent_unit_is_named(self, store: FeatureStore) -> None:
        entry = an_entry()
        store.put([entry])
        absent = entry.keys[0]._replace(unit="frame:99")
        other = entry.keys[0]._replace(unit="frame:7")
        with pytest.raises(MissingFeatures) as caught:
            store.get([absent, entry.keys[0], other])
        assert caught.value.missing == (absent, other)
        assert "frame:99" in str(caught.value)

    @pytest.mark.parametrize("part", FeatureKey._fields)
    def test_any_part_of_the_key_tells_entries_apart(self, store: FeatureStore, part: str) -> None:
        entry = an_entry(("frame:0",))
        store.put([entry])
        other = {"media": a_media("other"), "signature": "0" * 64, "unit": "frame:1"}[part]
        assert entry.keys[0]._replace(**{part: other}) not in store

    def test_units_of_two_media_are_not_stacked(self, store: FeatureStore) -> None:
        left, right = an_entry(media="left"), an_entry(media="right")
        store.put([left, right])
        with pytest.raises(ValueError, match="one media"):
            store.get([left.keys[0], right.keys[0]])
        with pytest.raises(ValueError, match="one media"):
            store.get([])

    def test_units_of_different_shapes_are_not_stacked(self, store: FeatureStore) -> None:
        small, large = an_entry(("a",)), an_entry(("b",), tail=(7, 16))
        store.put([small, large])
        with pytest.raises(ValueError, match="different shapes"):
            store.get([*small.keys, *large.keys])

    def test_an_entry_without_units_and_a_put_of_nothing(self, store: FeatureStore) -> None:
        store.put([])
        store.put([an_entry(units=())])
        assert list(store.keys()) == []

    def test_arrays_of_the_caller_stay_the_callers(self, store: FeatureStore) -> None:
        entry = an_entry()
        original = entry.features.arrays["main"].copy()
        store.put([entry])
        entry.features.arrays["main"][:] = 0
        served = store.get(entry.keys)
        assert_same_bits(served, Features({"main": original}))
        served.arrays["main"][:] = 0
        assert_same_bits(store.get(entry.keys), Features({"main": original}))

    def test_counters_count_units_and_bytes(self, store: FeatureStore) -> None:
        entry = an_entry()
        store.put([entry])
        store.get(entry.keys[:2])
        with pytest.raises(MissingFeatures):
            store.get([entry.keys[0]._replace(unit="frame:99")])
        counters = store.counters
        assert (counters.hits, counters.misses, counters.written) == (2, 1, 3)
        assert counters.bytes_written == entry.features.nbytes
        assert counters.bytes_read == entry.features.nbytes * 2 // 3
        assert counters.bytes_stored > 0

    def test_odd_unit_names(self, store: FeatureStore) -> None:
        units = ("../../etc", "frames:17+25", "tile:0,1/4", "é\n\0", "")
        entry = an_entry(units)
        store.put([entry])
        assert_same_bits(store.get(entry.keys), entry.features)
        assert set(store.keys()) == set(entry.keys)
