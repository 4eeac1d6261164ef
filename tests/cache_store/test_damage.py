"""Random damage to any file of a store: found or harmless, never served, never a crash."""

import random
from pathlib import Path

import pytest

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import StoreFolder
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.store import CorruptFeatures, MissingFeatures, StoreError
from tests.cache_store.stores import SOAK, Backup, damage, entry_of
from tests.contracts.store import assert_same_bits

NUM_TRIALS = 2500 if SOAK else 100
NUM_ENTRIES = 8


def a_store(folder: Path, codec: str) -> list[Backup]:
    """Return two states of a store: its index in records alone, and in a snapshot besides."""
    store = Hdf5Store(folder, codec=codec, num_threads=1)
    for number in range(0, NUM_ENTRIES, 2):
        store.put([entry_of(number), entry_of(number + 1, num_units=3)])
    states = [Backup(folder)]
    (namespace,) = StoreFolder(folder).namespaces()
    NamespaceIndex(namespace).write_snapshot()
    return [*states, Backup(folder)]


def read_everything(folder: Path) -> str:
    """Read every entry; return what happened first: ``right`` or ``detected``. All else fails."""
    outcome = "right"
    try:
        store = Hdf5Store(folder, num_threads=1)
        for number in range(NUM_ENTRIES):
            entry = entry_of(number, num_units=2 + number % 2)
            try:
                assert_same_bits(store.get(entry.keys), entry.features)
            except CorruptFeatures:
                outcome = "detected"
                with pytest.raises(MissingFeatures):  # reported once, then to be encoded again
                    store.get(entry.keys)
    except MissingFeatures:
        raise
    except StoreError:
        outcome = "detected"
    return outcome


@pytest.mark.parametrize("codec", ["zstd", "raw"])
def test_random_damage_is_never_served_and_verify_finds_all_of_it(
    tmp_path: Path, codec: str
) -> None:
    folder = tmp_path / "store"
    states = a_store(folder, codec)
    rng = random.Random(codec)
    outcomes = {"right": 0, "detected": 0}
    for trial in range(NUM_TRIALS):
        state = states[trial % 2]
        state.restore()
        name = rng.choice([name for name, data in state.files.items() if data])
        (folder / name).write_bytes(damage(state.files[name], rng))
        if trial % 4 == 0:
            try:
                assert not verify(Home(folder)).clean, name
            except StoreError:
                assert name.name == "store.json"
                continue
            assert read_after_verify(folder) <= {"right", "missing"}
        else:
            outcomes[read_everything(folder)] += 1
    assert outcomes["detected"] > NUM_TRIALS // 20
    assert outcomes["right"] > 0


def read_after_verify(folder: Path) -> set[str]:
    """Read every entry after `verify`: no damage is left to find."""
    store = Hdf5Store(folder, num_threads=1)
    outcomes = set()
    for number in range(NUM_ENTRIES):
        entry = entry_of(number, num_units=2 + number % 2)
        try:
            assert_same_bits(store.get(entry.keys), entry.features)
            outcomes.add("right")
        except MissingFeatures:
            outcomes.add("missing")
    assert verify(Home(folder)).damaged_units == []
    return outcomes


def test_the_damaged_unit_is_encoded_again_and_the_others_stay(tmp_path: Path) -> None:
    store = Hdf5Store(tmp_path, num_threads=1)
    entry = entry_of(0, num_units=3)
    store.put([entry])
    (pack,) = tmp_path.rglob("*.h5")
    index = store.index(entry.signature.digest)
    assert index is not None
    chunks = index.manifest(0).tables[0].arrays[0].parts[0].chunks
    data = bytearray(pack.read_bytes())
    data[int(chunks["offset"][1]) + 20] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)

    with pytest.raises(CorruptFeatures, match="encodeonce precompute"):
        store.get(entry.keys)
    assert store.counters.damaged == 1
    other = Hdf5Store(tmp_path)
    assert [key in other for key in entry.keys] == [True, False, True]
    other.put([entry])
    assert (other.counters.written, other.counters.skipped) == (1, 2)
    assert_same_bits(store.get(entry.keys), entry.features)
