"""The store on disk: its particular behaviour."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.store import Entry
from tests.cache_store.stores import entry_of, exit_code, fork
from tests.contracts.store import StoreContract, an_entry, assert_same_bits


class TestZstdStore(StoreContract):
    def open_store(self, folder: Path) -> Hdf5Store:
        return Hdf5Store(folder)


class TestRawStore(StoreContract):
    def open_store(self, folder: Path) -> Hdf5Store:
        return Hdf5Store(folder, codec="raw", num_threads=1)


def test_another_object_sees_what_was_committed_after_it_was_opened(tmp_path: Path) -> None:
    reader, writer = Hdf5Store(tmp_path), Hdf5Store(tmp_path)
    entry = an_entry()
    assert entry.keys[0] not in reader
    writer.put([entry])
    assert entry.keys[0] in reader
    assert_same_bits(reader.get(entry.keys), entry.features)


@pytest.mark.parametrize("written", ["zstd", "raw"])
def test_the_codec_of_the_reader_does_not_matter(tmp_path: Path, written: str) -> None:
    entry = an_entry()
    Hdf5Store(tmp_path, codec=written).put([entry])
    for codec in ("zstd", "raw"):
        assert_same_bits(Hdf5Store(tmp_path, codec=codec).get(entry.keys), entry.features)


def test_an_unknown_codec_is_refused_with_the_known_ones_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="raw, zstd"):
        Hdf5Store(tmp_path, codec="gzip")


def test_asking_whether_units_are_there_opens_no_pack(tmp_path: Path) -> None:
    entry = an_entry()
    Hdf5Store(tmp_path).put([entry])
    for pack in tmp_path.rglob("*.h5"):
        pack.rename(pack.with_suffix(".away"))
    store = Hdf5Store(tmp_path)
    assert all(key in store for key in entry.keys)
    assert list(store.keys()) == list(entry.keys)


def test_small_entries_of_one_put_share_a_pack(tmp_path: Path) -> None:
    entries = [an_entry(("image",), media=f"image-{i}", seed=i) for i in range(300)]
    store = Hdf5Store(tmp_path)
    store.put(entries)
    assert len(list(tmp_path.rglob("*.h5"))) == 1
    assert len(list(tmp_path.rglob("log/*/*.json"))) == 1
    for entry in entries[::50]:
        assert_same_bits(store.get(entry.keys), entry.features)


def test_units_are_read_into_the_callers_buffers(tmp_path: Path) -> None:
    entry = an_entry()
    store = Hdf5Store(tmp_path)
    store.put([entry])
    buffer = np.zeros((5, *entry.features.arrays["main"].shape[1:]), store_dtype(entry))
    features = store.get(entry.keys, out={"main": buffer})
    assert np.shares_memory(features.arrays["main"], buffer)
    assert_same_bits(features, entry.features)
    assert not buffer[3:].any()


def store_dtype(entry: Entry) -> np.dtype[np.generic]:
    return entry.features.arrays["main"].dtype


def test_buffers_that_do_not_fit_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    entry = an_entry()
    store = Hdf5Store(tmp_path)
    store.put([entry])
    dtype = store_dtype(entry)
    unfit = [
        {},
        {"main": np.zeros((2, 6, 16), dtype)},
        {"main": np.zeros((3, 16, 6), dtype)},
        {"main": np.zeros((3, 6, 16), np.float32)},
        {"main": np.zeros((16, 6, 3), dtype).T},
    ]
    for buffers in unfit:
        with pytest.raises(ValueError, match=r"buffer 'main'.*\(3 or more, 6, 16\)"):
            store.get(entry.keys, out=buffers)


@pytest.mark.parametrize("name", ["", "a/b", "a.b", "ä", "x" * 65])
def test_array_names_that_hdf5_paths_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    main = an_entry().features.arrays["main"]
    entry = Entry(
        signature=an_entry().signature,
        media=an_entry().media,
        units=an_entry().units,
        features=Features({"main": main, name: main}),
    )
    with pytest.raises(ValueError, match="array name"):
        Hdf5Store(tmp_path).put([entry])


READ_WITH_STOCK_TOOLS = """
import sys, h5py, hdf5plugin, numpy as np
with h5py.File(sys.argv[1], "r") as file:
    np.save(sys.argv[2], file["0/main"][:])
assert not [name for name in sys.modules if name.startswith("encodeonce")]
"""


@pytest.mark.parametrize("codec", ["zstd", "raw"])
def test_h5py_with_hdf5plugin_reads_a_pack_without_us(tmp_path: Path, codec: str) -> None:
    pytest.importorskip("hdf5plugin")
    entry = an_entry(tail=(50, 64))
    Hdf5Store(tmp_path, codec=codec).put([entry])
    (pack,) = tmp_path.rglob("*.h5")
    command = [sys.executable, "-c", READ_WITH_STOCK_TOOLS, str(pack), str(tmp_path / "out.npy")]
    subprocess.run(command, check=True)
    expected = entry.features.arrays["main"].view(np.uint16)
    assert np.array_equal(np.load(tmp_path / "out.npy"), expected)
    with h5py.File(pack, "r", locking=False) as file:
        assert file["0/main"].attrs["dtype"] == "bfloat16"
        assert file["0/main"].chunks == (1, 50, 64)


def test_an_open_pack_can_be_read_to_its_end_after_its_file_was_removed(tmp_path: Path) -> None:
    entry = an_entry()
    store = Hdf5Store(tmp_path)
    store.put([entry])
    store.get(entry.keys[:1])
    for pack in tmp_path.rglob("*.h5"):
        pack.unlink()
    assert_same_bits(store.get(entry.keys), entry.features)


def test_many_packs_are_read_with_few_files_open(tmp_path: Path) -> None:
    def use() -> None:
        os.closerange(3, 4096)  # what other tests of this process have left open
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        store = Hdf5Store(tmp_path)
        for number in range(150):
            store.put([entry_of(number, 1)])
        for number in range(150):
            store.get(entry_of(number, 1).keys)

    assert exit_code(fork(use)) == 0
