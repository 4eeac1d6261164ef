"""A store opened by its readers."""

import hashlib
from pathlib import Path

import pytest

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.maintenance.library import FeatureStore
from encodeonce.cache_store.store import MissingFeatures, StoreError
from tests.cache_store.stores import entry_of, media_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a store of two media, of which the first stands under two signatures."""
    store = Hdf5Store(tmp_path / "features")
    store.put([entry_of(0), entry_of(1), entry_of(0, tower="siglip")])
    store.close()
    return tmp_path


def test_it_lists_and_returns_what_is_stored(folder: Path) -> None:
    for path in (folder, folder / "features", str(folder)):
        with FeatureStore(path) as store:
            assert len(store.signatures()) == 2
            found = store.get(media_of(1)[:8])
            assert found.media == media_of(1)
            entry = entry_of(1)
            assert found.units == entry.units
            assert found.signature == entry.signature.digest
            assert (found.arrays["main"] == entry.features.arrays["main"]).all()


def test_one_of_several_signatures_has_to_be_named(folder: Path) -> None:
    with FeatureStore(folder) as store:
        first = entry_of(0).signature.digest
        with pytest.raises(StoreError, match=f"stored under 2 signatures.*{first[:12]}"):
            store.get(media_of(0))
        assert store.get(media_of(0), signature=first[:6]).signature == first


def test_what_is_not_there_is_refused(folder: Path, tmp_path: Path) -> None:
    with FeatureStore(folder) as store:
        with pytest.raises(StoreError, match="is not in the store; `media\\(\\)` lists"):
            store.get("0" * 64)
        with pytest.raises(StoreError, match=r"absent.mp4 cannot be read .*give a media file"):
            store.get(tmp_path / "absent.mp4")
        with pytest.raises(MissingFeatures):
            store.get(media_of(1), units=["frame:99"])
    with pytest.raises(StoreError, match="no feature store at"):
        FeatureStore(tmp_path / "elsewhere")


def test_a_file_is_found_by_its_bytes(folder: Path) -> None:
    file = folder / "clip.mp4"
    file.write_bytes(b"a clip")
    digest = hashlib.sha256(b"a clip").hexdigest()
    with FeatureStore(folder) as store, pytest.raises(StoreError, match="not in the store"):
        store.get(file)
    entry = entry_of(1)
    store_ = Hdf5Store(folder / "features")
    store_.put([type(entry)(signature=entry.signature, media=digest, units=entry.units,
                            features=entry.features)])  # fmt: skip
    store_.close()
    with FeatureStore(folder) as store:
        assert store.get(file).media == digest
