"""`verify`: finds damage, records it for all processes, and repairs what costs nothing."""

from pathlib import Path

import h5py
import pytest

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import StoreFolder
from encodeonce.cache_store.maintenance.gc import GcPolicy, gc
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.store import MissingFeatures, StoreError
from tests.cache_store.stores import entry_of
from tests.contracts.store import assert_same_bits


def overwrite(path: Path, data: bytes | bytearray) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    overwrite(path, data)


def test_a_whole_store_is_clean_and_progress_ends_at_its_bytes(tmp_path: Path) -> None:
    store = Hdf5Store(tmp_path)
    store.put([entry_of(number, 3) for number in range(5)])
    progress: list[tuple[int, int]] = []
    report = verify(Home(tmp_path), lambda done, total: progress.append((done, total)))
    assert report.clean
    assert (report.num_packs, report.num_units) == (1, 15)
    assert 0 < progress[0][0] < progress[-1][0] <= progress[-1][1]
    assert progress[-1][0] == report.num_bytes


def test_a_damaged_unit_is_found_without_being_asked_for(tmp_path: Path) -> None:
    store, entry = Hdf5Store(tmp_path), entry_of(0, 3)
    store.put([entry])
    (pack,) = tmp_path.rglob("*.h5")
    index = store.index(entry.signature.digest)
    assert index is not None
    offsets = index.manifest(0).tables[0].arrays[0].parts[0].chunks["offset"]
    flip(pack, int(offsets[2]) + 9)
    report = verify(Home(tmp_path))
    assert report.damaged_units == [entry.keys[2]]
    assert not report.clean
    again = verify(Home(tmp_path))
    assert again.damaged_units == []
    assert again.num_known_damaged == 1
    # A reader that had the store open learns of it.
    assert [key in store for key in entry.keys] == [True, True, False]
    with pytest.raises(MissingFeatures):
        store.get(entry.keys)
    store.put([entry])
    assert verify(Home(tmp_path)).clean


def test_a_damaged_hdf5_structure_is_made_anew_and_stock_tools_read_it_again(
    tmp_path: Path,
) -> None:
    entry = entry_of(0, 3)
    Hdf5Store(tmp_path, codec="raw").put([entry])
    (pack,) = tmp_path.rglob("*.h5")
    flip(pack, 0)  # the magic number: HDF5 does not open it any more
    report = verify(Home(tmp_path))
    assert report.damaged_units == []
    assert [text for text in report.repaired if "new pack" in text]
    (new,) = (path for path in tmp_path.rglob("*.h5") if path != pack)
    with h5py.File(new, "r", locking=False) as file:
        assert file["0/main"].shape == (3, 6, 16)
    assert_same_bits(Hdf5Store(tmp_path).get(entry.keys), entry.features)
    assert verify(Home(tmp_path)).clean


def test_damaged_records_and_snapshots_are_rebuilt(tmp_path: Path) -> None:
    store = Hdf5Store(tmp_path)
    entries = [entry_of(number) for number in range(4)]
    for entry in entries:
        store.put([entry])
    (namespace,) = StoreFolder(tmp_path).namespaces()
    NamespaceIndex(namespace).write_snapshot()
    (snapshot,) = tmp_path.rglob("*.snapshot")
    flip(snapshot, 5)
    flip(namespace.record(2), 50)
    overwrite(namespace.record(3), b"")
    report = verify(Home(tmp_path))
    assert len(report.repaired) == 3
    assert report.damaged_units == []
    assert verify(Home(tmp_path)).clean
    fresh = Hdf5Store(tmp_path)
    for entry in entries:
        assert_same_bits(fresh.get(entry.keys), entry.features)
    assert len(list(namespace.quarantine.iterdir())) == 2


def test_a_destroyed_drop_record_leaves_a_store_that_works(tmp_path: Path) -> None:
    store, entry = Hdf5Store(tmp_path), entry_of(0)
    store.put([entry])
    gc(Home(tmp_path), GcPolicy(signature=entry.signature.digest, grace_s=0))
    (namespace,) = StoreFolder(tmp_path).namespaces()
    flip(namespace.record(2), 3)
    assert not verify(Home(tmp_path)).clean
    fresh = Hdf5Store(tmp_path)
    fresh.put([entry])
    assert_same_bits(fresh.get(entry.keys), entry.features)
    assert verify(Home(tmp_path)).clean


def test_a_damaged_signature_is_restored_from_a_pack(tmp_path: Path) -> None:
    entry = entry_of(0)
    Hdf5Store(tmp_path).put([entry])
    (namespace,) = StoreFolder(tmp_path).namespaces()
    flip(namespace.signature_file, 4)
    report = verify(Home(tmp_path))
    assert [text for text in report.repaired if "signature" in text]
    assert namespace.read_signature() == entry.signature.to_dict()


def test_a_place_without_a_store_is_an_error_and_not_a_clean_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no feature store"):
        verify(Home(tmp_path))
