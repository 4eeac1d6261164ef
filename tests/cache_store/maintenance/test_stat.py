"""Facts about a store: `stat`, `ls`, coverage."""

from pathlib import Path

import pytest

from encodeonce.cache_store.coverage import coverage
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.log import DamageRecord
from encodeonce.cache_store.maintenance.stat import describe, find_signatures, ls, stat
from encodeonce.cache_store.store import StoreError
from encodeonce.cache_store.unit_table import unit_digest
from tests.cache_store.stores import entry_of, media_of
from tests.contracts.store import a_signature


def test_stat_counts_by_signature_and_by_who_made_it(tmp_path: Path) -> None:
    store = Hdf5Store(tmp_path)
    entries = [entry_of(number, 3) for number in range(4)]
    store.put(entries[:2])
    store.put([*entries[2:], entry_of(0, tower="siglip")])
    clip, siglip = sorted(stat(Home(tmp_path)), key=lambda s: str(s.signature["tower"]))
    assert (clip.num_media, clip.num_units, clip.num_packs) == (4, 12, 2)
    assert clip.provenance == {
        "benchmark": {"bench-0": 6, "bench-1": 6},
        "host": {"test": 12},
    }
    assert clip.raw_bytes == sum(entry.features.nbytes for entry in entries)
    assert clip.worst_loss is None
    assert (siglip.num_units, siglip.signature["tower"]) == (2, "siglip")


def test_a_signature_is_described_in_words() -> None:
    words = dict(describe(a_signature().to_dict()))
    assert words["taken at"] == "at tower, layer -2, cls dropped"
    assert words["preprocessing"] == "size 8 × 8"
    assert words["stored as"] == "bfloat16, lossless"


def test_ls_lists_media_by_the_beginning_of_digests(tmp_path: Path) -> None:
    Hdf5Store(tmp_path).put([entry_of(0), entry_of(1), entry_of(0, tower="siglip")])
    folder = Home(tmp_path)
    assert len(list(ls(folder))) == 3
    clip = entry_of(0).signature.digest
    (only,) = ls(folder, signature=clip[:9], media=media_of(1)[:6])
    assert (only.media, only.units) == (media_of(1), ("frame:0", "frame:1"))
    with pytest.raises(StoreError, match=clip[:12]):
        find_signatures(folder, "zz")


def test_coverage_tells_present_missing_and_damaged_apart(tmp_path: Path) -> None:
    store, entry, absent = Hdf5Store(tmp_path), entry_of(0, 3), entry_of(1)
    store.put([entry])
    index = store.index(entry.signature.digest)
    assert index is not None
    digest = unit_digest(entry.media, entry.units[1])
    index.commit(DamageRecord(index.packs[0].pack, (digest,), "test"))
    for pack in tmp_path.rglob("*.h5"):
        pack.unlink()  # no payload is needed to say this
    asked = [*entry.keys, *absent.keys, entry.keys[0]]
    found = coverage(Hdf5Store(tmp_path), asked)
    assert found.present == (entry.keys[0], entry.keys[2])
    assert found.damaged == (entry.keys[1],)
    assert found.missing == absent.keys
    assert found.fraction == pytest.approx(2 / 5)
    assert len(found.to_encode) == 3
    assert coverage(store, []).fraction == 1.0
