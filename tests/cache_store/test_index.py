"""The index: snapshots, the log, and a million entries."""

import time
from pathlib import Path

import numpy as np
import pytest

from encodeonce.cache_store import index as index_module
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import Namespace, StoreFolder
from encodeonce.cache_store.log import DamageRecord, DropRecord, Log, PackRecord
from encodeonce.cache_store.manifest import CHUNK_DTYPE, ArrayLayout, Manifest, Part, Table, Units
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.store import Entry, StoreError
from encodeonce.cache_store.unit_table import UnitTable, unit_digest
from tests.cache_store.stores import entry_of, media_of
from tests.contracts.store import a_signature, assert_same_bits


def namespace_of(root: Path) -> Namespace:
    (namespace,) = StoreFolder(root).namespaces()
    return namespace


def state_of(index: NamespaceIndex) -> set[tuple[str, str, str]]:
    """Return what an index says is live: (pack, media, unit)."""
    return {
        (index.packs[pack].pack, media, unit)
        for pack in index.live_packs()
        for _, media, unit in index.live_rows(pack)
    }


def test_an_index_from_a_snapshot_says_what_the_whole_log_says(tmp_path: Path) -> None:
    store = Hdf5Store(tmp_path)
    entries = [entry_of(number, 3) for number in range(12)]
    for entry in entries[:6]:
        store.put([entry])
    index = NamespaceIndex(namespace_of(tmp_path))
    index.write_snapshot()
    digests = tuple(unit_digest(entries[2].media, unit) for unit in entries[2].units[:2])
    assert index.commit(DropRecord((index.packs[0].pack, index.packs[5].pack), "test"))
    assert index.commit(DamageRecord(index.packs[2].pack, digests, "test"))
    store.put(entries[5:7])  # 5 is stored again
    index.refresh()
    index.write_snapshot()
    store.put([entries[2]])  # its damaged units are stored again
    for entry in entries[7:]:
        store.put([entry])
    replayed = NamespaceIndex.replayed(namespace_of(tmp_path))
    assert state_of(NamespaceIndex(namespace_of(tmp_path))) == state_of(replayed)
    assert replayed.num_damaged() == 0
    fresh = Hdf5Store(tmp_path)
    assert [entry.keys[0] in fresh for entry in entries] == [False] + [True] * 11
    for entry in entries[1:]:
        assert_same_bits(fresh.get(entry.keys), entry.features)


def test_snapshots_are_written_by_themselves_and_old_ones_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MIN_RECORDS_A_SNAPSHOT", 3)
    store = Hdf5Store(tmp_path)
    for number in range(20):
        store.put([entry_of(number, 1)])
    snapshots = sorted(path.name for path in tmp_path.rglob("*.snapshot"))
    assert len(snapshots) == 3
    assert snapshots[-1].startswith("000000018")
    assert len(list(Hdf5Store(tmp_path).keys())) == 20


def test_a_damaged_unit_that_was_stored_again_is_found_in_the_later_pack(tmp_path: Path) -> None:
    store, entry = Hdf5Store(tmp_path), entry_of(0)
    store.put([entry])
    index = store.index(entry.signature.digest)
    assert index is not None
    digest = unit_digest(entry.media, entry.units[0])
    assert index.commit(DamageRecord(index.packs[0].pack, (digest,), "test"))
    assert index.is_damaged(digest)
    store.put([entry])
    assert index.locate([digest]) == [(1, 0)]
    assert not index.is_damaged(digest)


def test_a_gap_in_the_log_is_noticed_and_filled_from_the_packs(tmp_path: Path) -> None:
    store = Hdf5Store(tmp_path)
    for number in range(4):
        store.put([entry_of(number)])
    namespace_of(tmp_path).record(2).unlink()
    fresh = Hdf5Store(tmp_path)
    for number in range(4):
        assert_same_bits(fresh.get(entry_of(number).keys), entry_of(number).features)
    index = fresh.index(entry_of(0).signature.digest)
    assert index is not None
    assert index.damaged_records == [2]


def test_a_table_finds_exactly_what_it_holds() -> None:
    rng = np.random.default_rng(0)
    digests = [rng.bytes(16) for _ in range(500)]
    # Equal first halves: they must be told apart by the second.
    digests += [digests[0][:8] + rng.bytes(8) for _ in range(5)]
    table = UnitTable.of([(digest, (i, 2 * i)) for i, digest in enumerate(digests)])
    again = UnitTable.from_buffer(table.to_bytes(), len(table), 0)
    for i, position in enumerate(again.find(digests)):
        assert position is not None
        assert again.place(position) == (i, 2 * i)
    assert again.find([rng.bytes(16), digests[0][:8] + bytes(8)]) == [None, None]
    assert UnitTable.of([]).find([digests[0]]) == [None]


UNITS_A_PACK = 1000


def pack_record(number: int, signature: str) -> PackRecord:
    """Return the record of a pack of one video; the pack itself is not needed for look-ups."""
    chunks = np.zeros(UNITS_A_PACK, CHUNK_DTYPE)
    part = Part(name="", dtype="bfloat16", shape=(1,), filter="zstd", chunks=chunks)
    array = ArrayLayout(name="main", dtype="bfloat16", shape=(1,), parts=(part,))
    units = Units(
        media=media_of(number),
        names=tuple(f"frame:{i}" for i in range(UNITS_A_PACK)),
        first_row=0,
        provenance={},
        loss={},
    )
    manifest = Manifest(
        pack=f"{number:032x}",
        signature=signature,
        codec="lossless",
        tables=(Table(num_rows=UNITS_A_PACK, arrays=(array,)),),
        units=(units,),
    )
    return PackRecord(manifest, 0, "")


def test_a_store_of_a_million_entries_answers_ten_thousand_keys_in_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, signature = StoreFolder(tmp_path), a_signature()
    namespace = folder.create_namespace(signature)
    log = Log(namespace)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        for number in range(1000):
            assert log.append(pack_record(number, signature.digest), number + 1)
        NamespaceIndex(namespace)  # whoever opens it first writes the snapshot
    # As much after the snapshot as there can be before somebody writes the next one.
    num_later = 1000 * UNITS_A_PACK // 16 // UNITS_A_PACK - 1
    for number in range(1000, 1000 + num_later):
        assert log.append(pack_record(number, signature.digest), number + 1)

    rng = np.random.default_rng(0)
    keys = [
        FeatureKey(media_of(int(number)), signature.digest, f"frame:{int(unit)}")
        for number, unit in zip(
            rng.integers(0, 1250, 10_000), rng.integers(0, UNITS_A_PACK, 10_000), strict=True
        )
    ]
    started_s = time.perf_counter()
    store = Hdf5Store(tmp_path)
    present = store.contains_all(keys)
    took_s = time.perf_counter() - started_s
    assert 0.7 < np.mean(present) < 0.95
    assert took_s < 2.0, took_s


def uncommitted_pack(root: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the files of a writer killed between writing its pack and its record."""

    def die(self: Log, record: object, seq: int) -> bool:
        raise StoreError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", die)
        with pytest.raises(StoreError, match="killed"):
            Hdf5Store(root).put([entry])


def test_a_pack_at_work_is_not_taken_for_committed_when_others_commit_during_the_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, at_work, meanwhile = Hdf5Store(tmp_path), entry_of(1), entry_of(2)
    store.put([entry_of(0)])
    uncommitted_pack(tmp_path, at_work, monkeypatch)
    real = Log.last

    def last_after_another_commit(self: Log) -> int:
        monkeypatch.setattr(Log, "last", real)
        store.put([meanwhile])
        return real(self)

    monkeypatch.setattr(Log, "last", last_after_another_commit)
    other = Hdf5Store(tmp_path)
    assert meanwhile.keys[0] in other
    assert at_work.keys[0] not in other
    other.put([at_work])
    assert other.counters.written == 2


def test_a_writer_does_not_rely_on_packs_adopted_for_a_damaged_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_of(1)
    Hdf5Store(tmp_path).put([entry_of(0)])
    uncommitted_pack(tmp_path, entry, monkeypatch)
    namespace_of(tmp_path).record(1).write_bytes(b"damaged")
    store = Hdf5Store(tmp_path)
    store.put([entry])
    assert (store.counters.written, store.counters.skipped) == (2, 0)
    store.put([entry])
    assert (store.counters.written, store.counters.skipped) == (2, 2)
    index = store.index(entry.signature.digest)
    assert index is not None
    digest = unit_digest(entry.media, entry.units[0])
    assert index.locate([digest]) == index.locate_committed([digest])
    assert_same_bits(store.get(entry.keys), entry.features)
