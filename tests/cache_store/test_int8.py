"""The lossy codec: how much it loses, what it records of that, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.int8 import Int8, relative_rmse
from encodeonce.cache_store.levels.memory import MemoryStore
from encodeonce.cache_store.lossy import find_lossy
from encodeonce.cache_store.maintenance.stat import stat
from encodeonce.cache_store.store import Entry, FeatureStore
from tests.cache_store.test_codec import features_like
from tests.contracts.store import a_media, a_signature, assert_same_bits


def an_int8_entry(num_units: int = 2) -> Entry:
    unit = features_like(np.float16, num_tokens=64)
    unit[:, 7] += np.float16(300)  # a massive channel, as real towers have
    return Entry(
        signature=replace(a_signature(dtype="float16"), codec=Int8().name),
        media=a_media(),
        units=tuple(f"frame:{i}" for i in range(num_units)),
        features=Features({"main": np.stack([np.roll(unit, i, axis=0) for i in range(num_units)])}),
    )


@pytest.mark.parametrize("store_codec", ["zstd", "raw"])
def test_what_is_read_back_is_close_and_the_error_is_stored_beside_it(
    tmp_path: Path, store_codec: str
) -> None:
    entry, store = an_int8_entry(), Hdf5Store(tmp_path, codec=store_codec)
    store.put([entry])
    read = store.get(entry.keys).arrays["main"]
    assert read.dtype == np.float16
    errors = [relative_rmse(a, b) for a, b in zip(entry.features.arrays["main"], read, strict=True)]
    assert 0.002 < max(errors) < 0.01
    (found,) = stat(Home(tmp_path))
    assert found.worst_loss == pytest.approx(max(errors))
    assert found.file_bytes < 0.65 * entry.features.nbytes


def test_the_massive_channel_does_not_destroy_the_others() -> None:
    unit = an_int8_entry().features.arrays["main"][0]
    small = np.delete(unit, 7, axis=1)
    approximation = np.delete(Int8().approximate(unit), 7, axis=1)
    assert relative_rmse(small, approximation) < 0.02


def test_the_store_in_memory_gives_the_same_numbers_as_the_one_on_disk(tmp_path: Path) -> None:
    entry = an_int8_entry()
    stores: list[FeatureStore] = [MemoryStore(), Hdf5Store(tmp_path)]
    for store in stores:
        store.put([entry])
    assert_same_bits(stores[0].get(entry.keys), stores[1].get(entry.keys))


def test_a_unit_does_not_depend_on_the_units_put_beside_it(tmp_path: Path) -> None:
    entry = an_int8_entry(num_units=3)
    alone = replace(
        entry,
        units=entry.units[:1],
        features=Features({"main": entry.features.arrays["main"][:1]}),
    )
    both = Hdf5Store(tmp_path / "both"), Hdf5Store(tmp_path / "alone")
    both[0].put([entry])
    both[1].put([alone])
    assert_same_bits(both[0].get(alone.keys), both[1].get(alone.keys))


@pytest.mark.parametrize("tail", [(), (5,), (1, 8), (2, 3, 8)])
def test_units_of_any_shape(tail: tuple[int, ...]) -> None:
    unit = np.linspace(-3, 3, int(np.prod(tail, dtype=int))).reshape(tail).astype(np.float32)
    assert np.allclose(Int8().approximate(unit), unit, atol=0.05)


def test_constant_units_come_back_exactly() -> None:
    unit = np.full((4, 8), 3.5, ml_dtypes.bfloat16)
    assert np.array_equal(Int8().approximate(unit), unit)


def test_features_that_are_not_finite_are_refused() -> None:
    unit = np.array([[1.0, np.nan]], np.float32)
    with pytest.raises(ValueError, match="must be finite"):
        Int8().split(unit)


def test_a_lossy_codec_that_nobody_knows_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(ValueError, match="int8 channel"):
        find_lossy("int4")
