"""One question at a time: what stays in memory, what comes from the store, and the same bits."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from encodeonce.cache_store.store import MissingFeatures
from encodeonce.datasets.media.media import MediaRef, MissingMedia
from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.harness.bridges.resident import ResidentAnswerer
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import PlannedMedia
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.context import PromptTooLong
from encodeonce.models.spec import NONE
from tests.fixtures.clips import write_clip
from tests.fixtures.tiny_models import write_tiny_llava
from tests.models.adapters.made import factors, write

FRAMES = UniformInclusive(num_frames=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resident")
    write_tiny_llava(folder / "model")
    for name in ("a", "b"):
        write_clip(folder / f"{name}.mp4", seed=ord(name))
    return folder


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> RunConfig:
    content = {
        "model": {"path": str(folder / "model"), "dtype": "float32", "device": "cpu"},
        "benchmarks": [{"name": "demo"}],
        "generation": {"max_new_tokens": 3},
        "cache": {"path": str(tmp_path / "cache"), "on_miss": "encode"},
        "output": str(tmp_path / "out"),
    }
    return RunConfig.model_validate(content)


@pytest.fixture
def answerer(config: RunConfig) -> Iterator[ResidentAnswerer]:
    with closing(ResidentAnswerer(config, NONE, FULL, num_prefixes=1)) as answerer:
        yield answerer


def video(path: Path) -> list[PlannedMedia]:
    ref = MediaRef(kind="video", path=path.name)
    return [PlannedMedia(root=path.parent, ref=ref, benchmark="test")]


def test_questions_on_the_same_media_share_a_prefill(
    answerer: ResidentAnswerer, folder: Path
) -> None:
    for question in ("What?", "Who?", "Where?"):
        answerer.ask(video(folder / "a.mp4"), question, FRAMES)
    use = answerer.take_use()
    assert use.num_prefills == 1
    assert (use.cache.num_units, use.cache.num_hits, use.cache.num_encoded) == (4, 0, 4)
    assert {"load", "encode", "prefill", "generate"} <= set(use.seconds)
    assert answerer.take_use().num_prefills == 0


def test_a_question_beyond_the_context_is_refused_and_the_prefix_stays(
    answerer: ResidentAnswerer, folder: Path
) -> None:
    with pytest.raises(PromptTooLong, match="more than the 2,048 "):
        answerer.ask(video(folder / "a.mp4"), "x" * 3000, FRAMES)
    answerer.ask(video(folder / "a.mp4"), "What?", FRAMES)
    assert answerer.take_use().num_prefills == 1


def test_the_prefix_used_last_stays(config: RunConfig, folder: Path) -> None:
    order = ["a", "b", "a", "b"]
    for num_prefixes, num_prefills in ((1, 4), (2, 2)):
        with closing(ResidentAnswerer(config, NONE, FULL, num_prefixes)) as answerer:
            for name in order:
                answerer.ask(video(folder / f"{name}.mp4"), "What?", FRAMES)
            assert answerer.take_use().num_prefills == num_prefills


def test_a_resident_prefix_gives_the_bits_of_a_new_one(
    answerer: ResidentAnswerer, folder: Path
) -> None:
    a, b = video(folder / "a.mp4"), video(folder / "b.mp4")
    answerer.ask(a, "Who?", FRAMES)
    resident = answerer.ask(a, "What?", FRAMES)
    other = answerer.ask(b, "What?", FRAMES)
    anew = answerer.ask(a, "What?", FRAMES)
    assert answerer.take_use().num_prefills == 3
    assert resident.logits_sha256 == anew.logits_sha256 != other.logits_sha256


@pytest.mark.parametrize("scope", ["question", "media"])
def test_a_compressed_cache_leaves_the_resident_prefix_whole(
    config: RunConfig, folder: Path, scope: Literal["question", "media"]
) -> None:
    kv = KVSpec(method="keydiff", keep=0.25, scope=scope)
    a = video(folder / "a.mp4")
    with closing(ResidentAnswerer(config, NONE, kv, num_prefixes=1)) as answerer:
        answerer.ask(a, "Who?", FRAMES)
        resident = answerer.ask(a, "What?", FRAMES)
        assert answerer.take_use().num_prefills == 1
    with closing(ResidentAnswerer(config, NONE, kv, num_prefixes=1)) as answerer:
        anew = answerer.ask(a, "What?", FRAMES)
    assert resident.kv is not None
    assert resident.kv == anew.kv
    assert resident.logits_sha256 == anew.logits_sha256


def test_the_content_of_a_file_is_what_counts_and_the_frames(
    answerer: ResidentAnswerer, folder: Path, tmp_path: Path
) -> None:
    answerer.ask(video(folder / "a.mp4"), "What?", FRAMES)
    copy = Path(shutil.copy(folder / "a.mp4", tmp_path / "copy.mp4"))
    answerer.ask(video(copy), "What?", FRAMES)
    assert answerer.take_use().num_prefills == 1
    more = answerer.ask(video(copy), "What?", UniformInclusive(num_frames=7))
    assert more.num_visual_units == 7
    use = answerer.take_use()
    assert (use.num_prefills, use.cache.num_units) == (1, 7)


def test_what_is_in_the_store_needs_no_tower(
    answerer: ResidentAnswerer, config: RunConfig, folder: Path
) -> None:
    first = answerer.ask(video(folder / "a.mp4"), "What?", FRAMES)
    strict = config.model_copy(
        update={"cache": config.cache.model_copy(update={"on_miss": "error"})}
    )
    with closing(ResidentAnswerer(strict, NONE, FULL, num_prefixes=1)) as again:
        second = again.ask(video(folder / "a.mp4"), "What?", FRAMES)
        assert second.logits_sha256 == first.logits_sha256
        assert again.take_use().cache.num_hits == 4
        with pytest.raises(MissingFeatures):
            again.ask(video(folder / "b.mp4"), "What?", FRAMES)


def test_questions_without_media_are_answered_too(answerer: ResidentAnswerer) -> None:
    first = answerer.ask([], "What?", FRAMES)
    assert first.num_visual_units == 0
    assert answerer.ask([], "What?", FRAMES).logits_sha256 == first.logits_sha256
    assert answerer.take_use().num_prefills == 1


def test_a_failure_leaves_the_next_question_alone(answerer: ResidentAnswerer, folder: Path) -> None:
    with pytest.raises(MissingMedia):
        answerer.ask(video(folder / "gone.mp4"), "What?", FRAMES)
    with pytest.raises(ValueError, match="placeholder"):
        answerer.ask(video(folder / "a.mp4"), "What is <image>?", FRAMES)
    assert answerer.ask(video(folder / "a.mp4"), "What?", FRAMES).num_visual_units == 4


def test_answers_are_under_the_adapter(config: RunConfig, folder: Path, tmp_path: Path) -> None:
    """A resident prefix is of the adapter: its keys and values depend on it."""
    widths = {"model.language_model.layers.0.self_attn.k_proj": (64, 32)}
    spec = AdapterSpec(path=str(write(tmp_path / "adapter", factors(widths, 4, size=1.0))))
    media = [PlannedMedia(root=folder, ref=MediaRef(kind="video", path="a.mp4"), benchmark="b")]
    found = {}
    for adapter in (None, spec):
        with closing(ResidentAnswerer(config, NONE, FULL, 1, adapter)) as answerer:
            first, again = (answerer.ask(media, "What?", FRAMES) for _ in range(2))
            assert answerer.take_use().num_prefills == 1
        assert first.logits_sha256 == again.logits_sha256
        found[adapter] = first.logits_sha256
    assert found[None] != found[spec]
