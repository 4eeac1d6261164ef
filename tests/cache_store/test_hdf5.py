"""The store on disk."""

from pathlib import Path

import pytest

from encodeonce.cache_store.hdf5 import Hdf5Store
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


def test_an_unknown_codec_is_refused_with_the_known_ones_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="raw, zstd"):
        Hdf5Store(tmp_path, codec="gzip")
