"""Requests of another harness: shared work, the store, pictures, errors in their place."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from encodeonce.cache_store.store import MissingFeatures
from encodeonce.datasets.media.media import MediaRef, MissingMedia
from encodeonce.harness.bridges.answerer import Answerer
from encodeonce.harness.bridges.requests import (
    GenerationRequest,
    LikelihoodRequest,
    MediaFile,
    TextScore,
    VariantConfig,
)
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import PlannedMedia
from encodeonce.harness.workers.precompute import PrecomputeWorker
from encodeonce.models.adapters.into_checkpoint import merge_adapter
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.answer import Generation
from encodeonce.models.language.context import PromptTooLong
from encodeonce.models.spec import GenerationSpec, ModelSpec
from tests.contracts.logits import NotedLogits
from tests.fixtures.clips import write_clip
from tests.fixtures.tiny_models import write_tiny_llava
from tests.models.adapters.made import factors, write

SHORT = GenerationSpec(max_new_tokens=3, max_batch=1)
WINDOW = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llava(tmp_path_factory.mktemp("model"))


@pytest.fixture
def clip(tmp_path: Path) -> MediaFile:
    return MediaFile(kind="video", path=write_clip(tmp_path / "clip.mp4"))


@pytest.fixture
def answerer(model: Path, tmp_path: Path) -> Iterator[Answerer]:
    yield from opened(model, tmp_path)


def opened(
    model: Path, folder: Path, on_miss: str = "encode", **variant: Any
) -> Iterator[Answerer]:
    answerer = Answerer(
        VariantConfig.model_validate(
            {
                "model": {"path": str(model), "dtype": "float32", "device": "cpu"},
                "frames": {"policy": "uniform_inclusive", "num_frames": 4},
                "cache": {"path": str(folder / "cache"), "on_miss": on_miss},
                **variant,
            }
        ),
        window=WINDOW,
    )
    yield answerer
    answerer.close()


def question(prompt: str, *media: MediaFile | Image.Image) -> GenerationRequest:
    return GenerationRequest(media=media, prompt=prompt, benchmark="test", generation=SHORT)


def frames_of(clip: MediaFile, indices: tuple[int, ...]) -> list[Image.Image]:
    with av.open(str(clip.path)) as container:
        every = [frame.to_image() for frame in container.decode(video=0)]
    return [every[n] for n in indices]


def texts(results: Iterator[Generation | Exception]) -> list[str]:
    found = []
    for result in results:
        assert isinstance(result, Generation), result
        found.append(result.text)
    return found


def test_questions_on_one_video_share_features_and_prefill_and_later_ones_find_them(
    answerer: Answerer, model: Path, tmp_path: Path, clip: MediaFile
) -> None:
    asked = [question(text, clip) for text in ("What?", "Where?", "What?")]
    first = texts(answerer.answers(asked))
    work = answerer.take_work()
    assert (work.num_answers, work.num_prefills) == (3, 1)
    assert (work.cache.num_units, work.cache.num_hits, work.cache.num_encoded) == (4, 0, 4)
    for later in opened(model, tmp_path, on_miss="error"):  # there, no tower can be loaded
        assert texts(later.answers(asked)) == first
        assert later.take_work().cache.num_hits == 4


def test_frames_given_as_pictures_get_the_answers_of_the_video(
    answerer: Answerer, clip: MediaFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    pictures = frames_of(clip, (0, 7, 15, 23))
    asked = [question("What?", clip), question("What?", *pictures), question("What?", *pictures)]
    video, one, again = answerer.answers(asked)
    assert isinstance(video, Generation)
    assert isinstance(one, Generation)
    logits.assert_close(video, one)  # the projector takes a media's frames at once
    assert one == again
    work = answerer.take_work()
    assert work.num_prefills == 2
    assert work.cache.num_encoded == 8


def test_pictures_leave_no_file_but_their_features(
    answerer: Answerer, tmp_path: Path, model: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    asked = [question("What?", Image.fromarray(noise))]
    before = set(tmp_path.rglob("*"))
    texts(answerer.answers(asked))
    answerer.close()
    made = {path.relative_to(tmp_path).parts[:2] for path in set(tmp_path.rglob("*")) - before}
    assert made <= {("cache",), ("cache", "features"), ("cache", "media.jsonl")}
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".tmp")]
    for later in opened(model, tmp_path, on_miss="error"):
        texts(later.answers(asked))


def test_a_question_without_media_needs_no_features(answerer: Answerer) -> None:
    (answer,) = answerer.answers([question("What is two plus two?")])
    assert isinstance(answer, Generation)
    assert answer.num_visual_units == 0
    assert answerer.take_work().cache.num_units == 0


def test_a_file_is_found_through_links_and_a_clip_is_a_part_of_it(
    answerer: Answerer, tmp_path: Path, clip: MediaFile
) -> None:
    link = tmp_path / "hub" / "snapshot.mp4"
    link.parent.mkdir()
    link.symlink_to(clip.path)
    linked = MediaFile(kind="video", path=link)
    part = MediaFile(kind="video", path=link, clip_s=(0.0, 0.3))
    answers = [*answerer.answers([question("What?", one) for one in (clip, linked, part)])]
    assert all(isinstance(answer, Generation) for answer in answers)
    assert answers[0] == answers[1]
    assert answers[2].num_visual_units == 3  # type: ignore[union-attr]


def test_what_cannot_be_answered_is_an_error_in_its_place(
    answerer: Answerer, tmp_path: Path, clip: MediaFile
) -> None:
    absent = MediaFile(kind="video", path=tmp_path / "absent.mp4")
    asked = [
        question("What?", clip),
        question("What?", absent),
        question("What does <image> mean?", clip),
        question("Where?", clip),
    ]
    fine, missing, placeholder, also_fine = answerer.answers(asked)
    assert isinstance(fine, Generation)
    assert isinstance(missing, MissingMedia)
    assert "placeholder" in str(placeholder)
    assert isinstance(also_fine, Generation)
    work = answerer.take_work()
    assert (work.num_answers, work.num_errors, work.num_prefills) == (2, 2, 1)


def test_without_a_tower_a_miss_is_an_error_of_every_question_on_the_media(
    model: Path, tmp_path: Path, clip: MediaFile
) -> None:
    for answerer in opened(model, tmp_path, on_miss="error"):
        asked = [question("What?", clip), question("Where?", clip), question("Who?")]
        one, two, text_only = answerer.answers(asked)
        assert isinstance(one, MissingFeatures)
        assert isinstance(two, MissingFeatures)
        assert isinstance(text_only, Generation)


def test_an_answer_is_given_before_the_next_one_is_computed(
    answerer: Answerer, clip: MediaFile
) -> None:
    answers = answerer.answers([question(text, clip) for text in ("What?", "Where?", "Who?")])
    next(answers)
    assert answerer.take_work().num_tokens <= SHORT.max_new_tokens
    assert len(list(answers)) == 2


def test_questions_are_read_a_window_ahead_and_no_further(answerer: Answerer) -> None:
    num_read = 0

    def asked() -> Iterator[GenerationRequest]:
        nonlocal num_read
        for n in range(3 * WINDOW):
            num_read += 1
            yield question(f"What is {n}?")

    next(answerer.answers(asked()))
    assert num_read == WINDOW


def test_batches_answer_as_one_at_a_time(answerer: Answerer, clip: MediaFile) -> None:
    prompts = ("What?", "How often does it cross?", "Where?", "What?")
    alone = texts(answerer.answers([question(text, clip) for text in prompts]))
    pairs = SHORT.model_copy(update={"max_batch": 2})
    batched = [
        GenerationRequest(media=(clip,), prompt=text, benchmark="test", generation=pairs)
        for text in prompts
    ]
    assert texts(answerer.answers(batched)) == alone


def test_media_that_follow_each_other_are_decoded_together(
    answerer: Answerer, tmp_path: Path, clip: MediaFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = MediaFile(kind="video", path=write_clip(tmp_path / "other.mp4", num_frames=12))
    absent = MediaFile(kind="video", path=tmp_path / "absent.mp4")
    asked = [
        question("What?", clip),
        question("What?", other),
        question("Who?"),
        question("What?", absent),
        question("<image>", other),
        question("Where does it cross?", clip),
        question("What?", other),
        question("x" * 3000, clip),
    ]
    alone = [*answerer.answers(asked)]
    engines = []
    make = answerer._asker._decoder.engine
    monkeypatch.setattr(
        answerer._asker._decoder,
        "engine",
        lambda *arguments: engines.append(arguments[0].max_batch) or make(*arguments),
    )
    wide = SHORT.model_copy(update={"max_batch": 16})
    together = [*answerer.answers([replace(one, generation=wide) for one in asked])]
    assert engines == [7]  # one batch; the question asked twice has one row
    for one, other_one in zip(alone, together, strict=True):
        assert type(one) is type(other_one)
        if isinstance(one, Generation):
            assert isinstance(other_one, Generation)
            assert one.text == other_one.text
    engines.clear()
    narrow = SHORT.model_copy(update={"max_batch": 4})
    texts_of = [*answerer.answers([replace(one, generation=narrow) for one in asked[:3]])]
    assert engines == [3]
    assert [one.text for one in texts_of] == [one.text for one in alone[:3]]  # type: ignore[union-attr]


def test_a_batch_that_fails_is_answered_group_by_group(
    answerer: Answerer, clip: MediaFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = SHORT.model_copy(update={"max_batch": 8})
    asked = [replace(question("What?", *media), generation=wide) for media in ([clip], [])]
    expected = texts(answerer.answers(asked))
    make = answerer._asker._decoder.engine

    def too_much(spec: GenerationSpec, *others: Any, **options: Any) -> Any:
        if spec.max_batch > 1:
            raise MemoryError
        return make(spec, *others, **options)

    monkeypatch.setattr(answerer._asker._decoder, "engine", too_much)
    assert texts(answerer.answers(asked)) == expected


def test_texts_are_scored_with_those_of_the_same_prompt(
    answerer: Answerer, clip: MediaFile
) -> None:
    options = [
        LikelihoodRequest(media=(clip,), prompt=prompt, benchmark="test", text=text)
        for prompt in ("What?", "Where?")
        for text in ("yes", "no way", "yes")
    ]
    scores = [*answerer.scores(options)]
    assert all(isinstance(score, TextScore) for score in scores)
    assert scores[0] == scores[2] != scores[3]
    assert [score.num_tokens for score in scores[:3]] == [3, 6, 3]  # type: ignore[union-attr]
    assert answerer.take_work().num_prefills == 1
    refused = LikelihoodRequest(media=(clip,), prompt="<image>", benchmark="test", text="yes")
    assert isinstance(next(answerer.scores([refused])), ValueError)


def test_a_question_beyond_the_context_fails_alone(answerer: Answerer, clip: MediaFile) -> None:
    asked = [question(text, clip) for text in ("What?", "x" * 3000, "Where?")]
    first, long, last = answerer.answers(asked)
    assert isinstance(first, Generation)
    assert isinstance(long, PromptTooLong)
    assert isinstance(last, Generation)
    options = [
        LikelihoodRequest(media=(clip,), prompt=prompt, benchmark="test", text="yes")
        for prompt in ("x" * 3000, "What?")
    ]
    refused, score = answerer.scores(options)
    assert isinstance(refused, PromptTooLong)
    assert isinstance(score, TextScore)


def test_under_a_compressed_cache_what_was_kept_is_measured(
    answerer: Answerer, model: Path, tmp_path: Path, clip: MediaFile
) -> None:
    asked = [question(text, clip) for text in ("What?", "Where does it cross?", "What?")]
    asked.append(question("What is two plus two?"))
    texts(answerer.answers(asked))
    assert answerer.take_work().kv_bytes == 0
    kv = {"method": "knorm", "keep": 0.5}
    for compressed in opened(model, tmp_path, on_miss="error", kv=kv):
        answers = [*compressed.answers(asked)]
        work = compressed.take_work()
        assert answers[0] == answers[2]
        assert all(isinstance(one, Generation) and one.kv is not None for one in answers)
        assert (work.num_answers, work.num_prefills) == (4, 2)
        assert 0.4 < work.kept_kv_bytes / work.kv_bytes < 0.6
        options = [
            LikelihoodRequest(media=(clip,), prompt="What?", benchmark="test", text=text)
            for text in ("yes", "no way")
        ]
        assert all(isinstance(score, TextScore) for score in compressed.scores(options))
        assert compressed.take_work().kept_kv_bytes > 0


def test_weight_variants_read_the_same_features(
    answerer: Answerer, model: Path, tmp_path: Path, clip: MediaFile
) -> None:
    asked = [question("What?", clip)]
    (plain,) = answerer.answers(asked)
    weights = {"method": "rtn", "options": {"group_size": 32}}
    for quantised in opened(model, tmp_path, on_miss="error", weights=weights):
        (other,) = quantised.answers(asked)
        assert isinstance(plain, Generation)
        assert isinstance(other, Generation)
        assert other.logits_sha256 != plain.logits_sha256


def test_what_encodeonce_has_precomputed_is_found(
    model: Path, tmp_path: Path, clip: MediaFile
) -> None:
    run = RunConfig.model_validate(
        {
            "model": {"path": str(model), "dtype": "float32", "device": "cpu"},
            "frames": {"policy": "uniform_inclusive", "num_frames": 4},
            "cache": {"path": str(tmp_path / "cache")},
            "benchmarks": [{"name": "demo"}],
            "output": str(tmp_path / "out"),
        }
    )
    worker = PrecomputeWorker(run)
    ref = MediaRef(kind="video", path=clip.path.name)
    worker.do(PlannedMedia(root=clip.path.parent, ref=ref, benchmark="other"))
    worker.close()
    for answerer in opened(model, tmp_path, on_miss="error"):
        texts(answerer.answers([question("What?", clip)]))
        assert answerer.take_work().cache.num_hits == 4


def test_answers_are_under_the_adapter(model: Path, tmp_path: Path, clip: MediaFile) -> None:
    """The same as under the adapter in the weights, and others than the base's."""
    asked = [GenerationRequest(media=(clip,), prompt="What?", benchmark="b", generation=SHORT)]
    texts = [LikelihoodRequest(media=(clip,), prompt="What?", benchmark="b", text="ab")]
    widths = {"model.language_model.layers.0.self_attn.q_proj": (64, 64)}
    folder = write(tmp_path / "adapter", factors(widths, 4, size=1.0))
    found = {}
    for name, variant in (("base", {}), ("adapted", {"adapter": str(folder)})):
        for answerer in opened(model, tmp_path, **variant):
            (answer,), (score,) = answerer.answers(asked), answerer.scores(texts)
            found[name] = answer, score
    spec, merged = AdapterSpec(path=str(folder)), tmp_path / "merged"
    merge_adapter(spec, ModelSpec(path=str(model)), merged)
    for answerer in opened(merged, tmp_path):
        (answer,), (score,) = answerer.answers(asked), answerer.scores(texts)
        found["merged"] = answer, score
    answers = {name: answer for name, (answer, _) in found.items()}
    assert answers["base"].logits_sha256 != answers["adapted"].logits_sha256
    assert answers["merged"].token_ids == answers["adapted"].token_ids
    probs = {name: score.log_prob for name, (_, score) in found.items()}
    assert probs["adapted"] == pytest.approx(probs["merged"], abs=1e-4)
    assert abs(probs["adapted"] - probs["base"]) > 1e-3


def test_an_adapter_that_is_trained_on_in_place_is_another(model: Path, tmp_path: Path) -> None:
    widths = {"model.language_model.layers.0.self_attn.q_proj": (64, 64)}

    def identity(seed: int, where: str = "adapter", **variant: Any) -> str:
        folder = write(tmp_path / where, factors(widths, 4, seed, size=1.0))
        (answerer,) = opened(model, tmp_path, **{"adapter": str(folder), **variant})
        return answerer.identity()

    assert identity(1) == identity(1)
    assert identity(1) != identity(2)
    assert identity(1) != identity(1, kv="snapkv@0.5")
