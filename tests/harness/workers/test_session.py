"""A session opens only what is used, and closes it once."""

import threading
from pathlib import Path
from typing import Any

import pytest

from encodeonce.cache_store.store import MissingFeatures
from encodeonce.datasets.media.media import MediaRef, MissingMedia
from encodeonce.harness.run.config import AnswerConfig, RunConfig
from encodeonce.harness.run.plan import make_plan
from encodeonce.harness.workers.coverage import measure_coverage
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.harness.workers.session import Session
from encodeonce.models.spec import NONE
from tests.fixtures.clips import write_clip
from tests.fixtures.tiny_models import write_tiny_llava

LOADED = ("TransformersVision.load", "TransformersFamily.decoder", "TransformersFamily.reference")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llava(tmp_path_factory.mktemp("model"))


def config(model: Path, folder: Path, on_miss: str = "error") -> AnswerConfig:
    return AnswerConfig.model_validate(
        {
            "model": {"path": str(model), "dtype": "float32", "device": "cpu"},
            "frames": {"policy": "uniform_inclusive", "num_frames": 2},
            "cache": {"path": str(folder / "cache"), "on_miss": on_miss},
        }
    )


def clip(session: Session, folder: Path) -> MediaRequest:
    write_clip(folder / "clip.mp4")
    return session.look_up(folder, MediaRef(kind="video", path="clip.mp4"), "test")


def forbid_loading(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("weights are loaded")

    for name in names:
        monkeypatch.setattr(f"encodeonce.models.family_bases.transformers.{name}", load)


def num_threads() -> int:
    """Return how many threads belong to a session: libraries have some of their own."""
    names = [thread.name for thread in threading.enumerate()]
    return sum(name.startswith(("claims", "read-ahead")) for name in names)


def test_looking_media_up_opens_no_store_and_loads_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_loading(monkeypatch, *LOADED)
    with Session(config(model, tmp_path)) as session:
        assert len(clip(session, tmp_path).keys) == 2
        assert session.stopwatch.take().keys() == {"look up"}
    assert not (tmp_path / "cache" / "features").exists()


def test_the_store_is_looked_through_without_weights(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_loading(monkeypatch, *LOADED)
    content = config(model, tmp_path).model_dump()
    run = RunConfig.model_validate({**content, "benchmarks": [{"name": "demo"}], "output": "out"})
    found = measure_coverage(run, make_plan(run))
    assert found.num_missing == 2 * found.num_media > 0


def test_what_becomes_of_a_miss_is_the_configurations_unless_it_is_said(
    model: Path, tmp_path: Path
) -> None:
    strict, generous = config(model, tmp_path), config(model, tmp_path, on_miss="encode")
    for refusing in (Session(strict), Session(generous, on_miss="error")):
        with refusing as session, pytest.raises(MissingFeatures):
            session.visual(clip(session, tmp_path))
    with Session(strict, on_miss="encode") as session:
        visual = session.visual(clip(session, tmp_path))
        assert visual.features.num_units == len(visual.units) == 2
        assert session.features.take_use().num_encoded == 2
        assert {"look up", "load", "decode", "encode", "write"} < session.stopwatch.take().keys()
    with Session(strict) as session:
        again = session.visual(clip(session, tmp_path))
        assert again.features.arrays["main"].tobytes() == visual.features.arrays["main"].tobytes()


def test_features_never_need_the_decoder_nor_the_decoder_the_tower(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, Session(config(model, tmp_path, "encode")) as session:
        forbid_loading(patch, "TransformersFamily.decoder")
        session.visual(clip(session, tmp_path))
    forbid_loading(monkeypatch, "TransformersVision.load")
    with Session(config(model, tmp_path, "encode")) as session:
        visual = session.visual(clip(session, tmp_path))
        decoder = session.decoder_slot.put(NONE)
        assert decoder.loaded.num_bytes > 0
        assert session.decoder_slot.get(NONE) is decoder
        assert visual.features.num_units == 2


def test_a_closed_session_has_no_threads_and_is_closed_once(model: Path, tmp_path: Path) -> None:
    before = num_threads()
    session = Session(config(model, tmp_path, "encode"))
    request = clip(session, tmp_path)
    session.features.read_ahead(request)
    session.visual(request)
    assert num_threads() == before + 2
    session.close()
    session.close()
    assert num_threads() == before


def test_media_are_decoded_without_the_store(model: Path, tmp_path: Path) -> None:
    with Session(config(model, tmp_path)) as session:
        decoded = session.decoded(clip(session, tmp_path))
        assert len(decoded.frames.pixels_THWC) == len(decoded.units) == 2
        assert session.stopwatch.take().keys() == {"look up", "decode"}
        with pytest.raises(MissingMedia):
            session.look_up(tmp_path, MediaRef(kind="video", path="gone.mp4"), "test")
    assert not (tmp_path / "cache" / "features").exists()
