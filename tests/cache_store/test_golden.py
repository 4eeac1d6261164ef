"""A store written by an earlier version reads the same forever.

`golden/format-1` was written once by `write_golden`, when format 1 was made:

    python -c "from tests.cache_store.test_golden import *; write_golden(GOLDEN)"

Never write it again. A new format gets a folder of its own beside it.
"""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.int8 import Int8, relative_rmse
from encodeonce.cache_store.layout import StoreFolder
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.store import Entry
from tests.cache_store.stores import content_of, entry_of, media_of
from tests.contracts.store import a_signature, assert_same_bits

GOLDEN = Path(__file__).parent / "golden" / "format-1"

INT8_SHA256 = "d239fa80dbdc41c1fd12959943def0240401200ca394941cca010dbc5d09403a"
"""Of the bytes that the lossy entry reads back as."""


def an_image() -> Entry:
    media, tail = media_of(100), (3, 8)
    return Entry(
        signature=a_signature(),
        media=media,
        units=("image",),
        features=Features(
            {
                "main": content_of(media, ["image"], tail).arrays["main"],
                "deepstack_0": content_of(media, ["deep"], tail).arrays["main"],
            }
        ),
    )


def a_lossy_entry() -> Entry:
    entry = entry_of(7, 2, (12, 16))
    return replace(entry, signature=replace(entry.signature, codec=Int8().name))


def write_golden(folder: Path) -> None:
    """Write one of every kind: both chunk codecs, the lossy one, two tables, a snapshot."""
    Hdf5Store(folder, codec="zstd").put([entry_of(0), an_image(), a_lossy_entry()])
    Hdf5Store(folder, codec="raw").put([entry_of(1)])
    NamespaceIndex(StoreFolder(folder).namespace(a_signature().digest)).write_snapshot()


def test_a_store_of_format_1_reads_the_same(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "store")
    store = Hdf5Store(tmp_path / "store")
    for entry in (entry_of(0), entry_of(1), an_image()):
        assert_same_bits(store.get(entry.keys), entry.features)
    lossy = a_lossy_entry()
    read = store.get(lossy.keys).arrays["main"]
    assert relative_rmse(lossy.features.arrays["main"], read) < 0.01
    assert hashlib.sha256(read.tobytes()).hexdigest() == INT8_SHA256
    assert len(list(store.keys())) == 7


def test_a_store_of_format_1_is_whole_and_can_be_added_to(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "store")
    folder = StoreFolder(tmp_path / "store")
    for namespace in folder.namespaces():  # git keeps no empty folders
        namespace.tmp.mkdir(exist_ok=True)
    assert verify(Home(folder.root)).clean
    store, entry = Hdf5Store(folder.root), entry_of(2)
    store.put([entry_of(0), entry])
    assert (store.counters.written, store.counters.skipped) == (2, 2)
    assert_same_bits(store.get(entry.keys), entry.features)


def test_the_index_of_format_1_can_be_rebuilt_from_its_packs(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "store")
    for path in [*tmp_path.rglob("*.snapshot"), *tmp_path.rglob("log/*/*.json")]:
        path.write_bytes(b"lost")
    store = Hdf5Store(tmp_path / "store")
    for entry in (entry_of(0), entry_of(1), an_image()):
        assert_same_bits(store.get(entry.keys), entry.features)
