"""Export and import of parts of a store."""

import random
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.int8 import Int8
from encodeonce.cache_store.maintenance.transfer import export_store, import_store
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.pack import write_pack
from encodeonce.cache_store.store import CorruptFeatures, Entry, StoreError
from tests.cache_store.stores import damage, entry_of, media_of
from tests.contracts.store import assert_same_bits


@pytest.fixture
def source(tmp_path: Path) -> Home:
    store = Hdf5Store(tmp_path / "source")
    store.put([entry_of(number, 1 + number % 3, (2 + number % 2, 8)) for number in range(6)])
    store.put([entry_of(0, tower="siglip")])
    return Home(tmp_path / "source")


def test_everything_arrives(source: Home, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    sent = export_store(
        source, tmp_path / "all.tar", on_progress=lambda done, total: steps.append((done, total))
    )
    target = Home(tmp_path / "target")
    received = import_store(target, tmp_path / "all.tar")
    assert sent.num_units == received.num_units == 14
    assert steps[-1] == (2, 2)
    here, there = Hdf5Store(target.folder.root), Hdf5Store(source.folder.root)
    assert set(here.keys()) == set(there.keys())
    for key in set(there.keys()):
        assert_same_bits(here.get([key]), there.get([key]))
    assert verify(target).clean
    again = import_store(target, tmp_path / "all.tar")
    assert (again.num_units, again.num_skipped) == (0, 14)
    assert [path for path in tmp_path.iterdir() if "tmp" in path.name] == []


def test_a_subset_by_media_and_signature(source: Home, tmp_path: Path) -> None:
    clip = entry_of(0).signature.digest
    media = {media_of(number) for number in (0, 3, 4)}
    export_store(source, tmp_path / "part.tar", signature=clip[:8], media=media)
    target = Hdf5Store(tmp_path / "target")
    import_store(Home(target.folder.root), tmp_path / "part.tar")
    arrived = set(target.keys())
    assert {key.media for key in arrived} == media
    assert {key.signature for key in arrived} == {clip}
    for number in (0, 3, 4):
        entry = entry_of(number, 1 + number % 3, (2 + number % 2, 8))
        assert_same_bits(target.get(entry.keys), entry.features)


def test_only_what_the_target_lacks_is_added(source: Home, tmp_path: Path) -> None:
    target = Hdf5Store(tmp_path / "target")
    target.put([entry_of(1, 2, (3, 8))])
    export_store(source, tmp_path / "all.tar")
    report = import_store(Home(target.folder.root), tmp_path / "all.tar")
    assert (report.num_units, report.num_skipped) == (12, 2)
    assert verify(Home(target.folder.root)).clean
    assert len(list(target.keys())) == 14


def test_lossy_features_are_carried_as_they_are_stored(tmp_path: Path) -> None:
    lossless = entry_of(0, 3)
    entry = replace(lossless, signature=replace(lossless.signature, codec=Int8().name))
    store, target = Hdf5Store(tmp_path / "a"), Hdf5Store(tmp_path / "b")
    store.put([entry])
    export_store(Home(store.folder.root), tmp_path / "x.tar")
    import_store(Home(target.folder.root), tmp_path / "x.tar")
    assert_same_bits(target.get(entry.keys), store.get(entry.keys))


def test_a_damaged_export_is_refused_and_nothing_wrong_gets_in(
    source: Home, tmp_path: Path
) -> None:
    tar, rng = tmp_path / "all.tar", random.Random(0)
    export_store(source, tar)
    whole = tar.read_bytes()
    there = Hdf5Store(source.folder.root)
    num_refused = 0
    for trial in range(40):
        tar.write_bytes(damage(whole, rng))
        target = Hdf5Store(tmp_path / f"target-{trial}")
        try:
            import_store(Home(target.folder.root), tar)
        except StoreError:
            num_refused += 1
        for key in set(target.keys()):
            assert_same_bits(target.get([key]), there.get([key]))
    assert num_refused > 25  # the padding of a tar may hold anything


def test_damage_in_the_source_stops_the_export(source: Home, tmp_path: Path) -> None:
    for pack in source.folder.root.rglob("*.h5"):
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes()[:-1])
    with pytest.raises(CorruptFeatures, match="verify"):
        export_store(source, tmp_path / "all.tar")
    assert not (tmp_path / "all.tar").exists()


def test_a_tar_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.txt").write_text("x")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "evil.txt", "../../evil.txt")
    with pytest.raises(StoreError, match="no export"):
        import_store(Home(tmp_path / "target"), tmp_path / "other.tar")
    (tmp_path / "no.tar").write_bytes(b"no tar at all")
    with pytest.raises(StoreError):
        import_store(Home(tmp_path / "target"), tmp_path / "no.tar")
    with pytest.raises(StoreError, match="importing"):
        import_store(Home(tmp_path / "target"), tmp_path / "absent.tar")


def test_nothing_to_export_is_an_error(source: Home, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing"):
        export_store(source, tmp_path / "x.tar", media={"f" * 64})


def test_an_import_interrupted_in_the_middle_is_repeated(
    source: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_store(source, tmp_path / "all.tar")
    target = Home(tmp_path / "target")
    real, calls = write_pack, []

    def fail_second(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise StoreError("the disk is full")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("encodeonce.cache_store.maintenance.transfer.write_pack", fail_second)
    with pytest.raises(StoreError, match="full"):
        import_store(target, tmp_path / "all.tar")
    assert 0 < len(list(Hdf5Store(target.folder.root).keys())) < 14
    import_store(target, tmp_path / "all.tar")
    assert len(list(Hdf5Store(target.folder.root).keys())) == 14


def test_features_of_several_arrays_are_carried(tmp_path: Path) -> None:
    base = entry_of(0, 4)
    arrays = {**base.features.arrays, "deepstack_0": entry_of(1, 4).features.arrays["main"]}
    entry = Entry(
        signature=base.signature, media=base.media, units=base.units, features=Features(arrays)
    )
    other = entry_of(2)
    store, target = Hdf5Store(tmp_path / "a"), Hdf5Store(tmp_path / "b")
    store.put([other, entry])
    export_store(Home(store.folder.root), tmp_path / "x.tar", media={entry.media})
    import_store(Home(target.folder.root), tmp_path / "x.tar")
    assert_same_bits(target.get(entry.keys), entry.features)
    assert other.keys[0] not in target
