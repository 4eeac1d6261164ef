"""Features from the store, from the tower where the store lacks them, and read ahead."""

import os
import re
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
import torch

from encodeonce.cache_store.claims import Claims
from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.levels.leveled import LeveledStore
from encodeonce.cache_store.signature import Signature
from encodeonce.cache_store.store import MissingFeatures
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.media import Frames, MediaRef
from encodeonce.datasets.media.probe import probe
from encodeonce.harness.run.record import CacheUse
from encodeonce.harness.workers import features
from encodeonce.harness.workers.features import FeatureSource
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.models.timing import Stopwatch
from encodeonce.models.vision.visual import Unit
from tests.fixtures.clips import write_clip


class MeanTower:
    """Encodes a frame as its mean colour, and counts."""

    def __init__(self) -> None:
        self.num_frames = 0

    def preprocess(self, frames: Frames, signature: Signature) -> torch.Tensor:
        self.num_frames += len(frames.pixels_THWC)
        return torch.from_numpy(frames.pixels_THWC.astype(np.float32))

    def encode(self, pixels: torch.Tensor) -> Features:
        return Features({"main": pixels.mean(dim=(1, 2))[:, None].numpy()})


@pytest.fixture
def tower() -> MeanTower:
    return MeanTower()


@pytest.fixture
def source(tmp_path: Path, tower: MeanTower) -> FeatureSource:
    return make_source(tmp_path, tower)


def make_source(folder: Path, tower: MeanTower | None, memory_bytes: int = 0) -> FeatureSource:
    return FeatureSource(
        LeveledStore(Hdf5Store(folder / "store")),
        None if tower is None else lambda: tower,
        Stopwatch(),
        {"host": "test"},
        memory_bytes,
    )


def request(folder: Path, frames: tuple[int, ...]) -> MediaRequest:
    write_clip(folder / "clip.mp4")
    ledger = Ledger(None)
    media = MediaLibrary(folder, ledger).resolve(MediaRef(kind="video", path="clip.mp4"))
    info = probe(media, ledger=ledger)
    signature = Signature(
        tower="mean",
        weights_sha256="0" * 64,
        tap={},
        preprocess={},
        decoder=info.decoder,
        dtype="float32",
    )
    units = tuple(Unit(f"frame:{frame}", (frame,)) for frame in frames)
    return MediaRequest(media=media, info=info, signature=signature, units=units, benchmark="test")


def test_what_is_missing_is_encoded_and_what_is_there_is_not(
    source: FeatureSource, tower: MeanTower, tmp_path: Path
) -> None:
    source.ensure(request(tmp_path, (0, 10)))
    assert tower.num_frames == 2
    source.take_use()
    features = source.fetch(request(tmp_path, (0, 5, 10)))
    assert tower.num_frames == 3
    use = source.take_use()
    assert (use.num_units, use.num_hits, use.num_encoded) == (3, 2, 1)
    assert use.bytes_read == features.nbytes
    alone = make_source(tmp_path / "other", MeanTower()).fetch(request(tmp_path, (5,)))
    assert np.array_equal(features.arrays["main"][1], alone.arrays["main"][0])


def test_without_a_tower_a_miss_is_an_error_and_is_counted(tmp_path: Path) -> None:
    source = make_source(tmp_path, tower=None)
    with pytest.raises(MissingFeatures, match="2 unit"):
        source.fetch(request(tmp_path, (0, 10)))
    assert source.take_use() == CacheUse(num_units=2)


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
def test_features_read_ahead_are_the_same_and_count_the_same(
    tmp_path: Path, tower: MeanTower, memory_bytes: int
) -> None:
    wanted = request(tmp_path, (0, 7, 20))
    make_source(tmp_path, tower).ensure(wanted)
    results = []
    for is_ahead in (False, True):
        source = make_source(tmp_path, tower=None, memory_bytes=memory_bytes)
        if is_ahead:
            source.read_ahead(wanted)
        results.append((source.fetch(wanted).arrays["main"].tobytes(), source.take_use()))
        source.close()
    assert results[0] == results[1]


def test_a_miss_ahead_is_said_when_it_is_fetched(tmp_path: Path, tower: MeanTower) -> None:
    wanted = request(tmp_path, (0, 7))
    source = make_source(tmp_path, tower)
    source.read_ahead(wanted)
    assert source.fetch(wanted).num_units == 2
    assert source.take_use().num_encoded == 2
    source.close()


def test_of_two_workers_asked_for_one_media_at_once_one_encodes(tmp_path: Path) -> None:
    wanted = request(tmp_path, (0, 7, 20))
    towers = [MeanTower(), MeanTower()]
    sources = [make_source(tmp_path, tower) for tower in towers]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda source: source.fetch(wanted), sources))
    assert sum(tower.num_frames for tower in towers) == 3
    assert np.array_equal(results[0].arrays["main"], results[1].arrays["main"])
    for source in sources:
        source.close()


def test_a_worker_that_waits_for_another_says_for_whom_and_until_when(
    tmp_path: Path,
    tower: MeanTower,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(features, "CLAIM_WORD_S", (0.1, 3600.0))
    wanted = request(tmp_path, (0, 7))
    source = make_source(tmp_path, tower)
    with ThreadPoolExecutor(1) as pool, Claims(tmp_path / "store") as other:
        assert other.acquire(wanted.keys[0])
        waiting = pool.submit(source.ensure, wanted)
        wait([waiting], timeout=1.0)
        assert not waiting.done()
        other.release(wanted.keys[0])
        waiting.result()
    source.close()
    assert tower.num_frames == 2
    (said,) = (record.getMessage() for record in caplog.records)
    assert "clip.mp4 is being encoded by process" in said
    assert re.search(
        rf"process {os.getpid()} on \S+, which is waited for.* from \d\d:\d\d:\d\d on", said
    )
