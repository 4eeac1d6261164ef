"""Prompts beyond a model's context are refused; long ones are not padded with short ones."""

from typing import Any

import pytest
from transformers import (
    Gemma3TextConfig,
    LlamaConfig,
    LlavaConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2VLConfig,
)

from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.kv.asked import batches
from encodeonce.models.language.context import (
    PromptTooLong,
    check_length,
    context_length,
    has_three_axes,
)
from encodeonce.models.spec import GenerationSpec, VisionSpec
from encodeonce.models.vision.visual import Visual
from tests.asking import answered
from tests.contracts.family import Model, Scene

SHORT = GenerationSpec(max_new_tokens=2)


def scaled(kind: str, factor: float, length: int, **more: Any) -> LlamaConfig:
    rope = {"rope_type": kind, "rope_theta": 10000.0, "factor": factor, **more}
    return LlamaConfig(max_position_embeddings=length, rope_parameters=rope)


LONG = [1.0] * 48
"""Factors of longrope for heads of 96 channels."""

LENGTHS: tuple[tuple[PreTrainedConfig, int | None], ...] = (
    (LlamaConfig(max_position_embeddings=4096), 4096),
    (LlavaConfig(text_config=LlamaConfig(max_position_embeddings=4096)), 4096),
    (scaled("linear", 4.0, 4096), 16384),
    (scaled("dynamic", 2.0, 4096), 8192),
    # Qwen2.5's model card keeps the length before scaling; others write the one after it.
    (scaled("yarn", 4.0, 32768, original_max_position_embeddings=32768), 131072),
    (scaled("yarn", 4.0, 131072, original_max_position_embeddings=32768), 131072),
    (
        scaled(
            "llama3",
            8.0,
            131072,
            original_max_position_embeddings=8192,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
        ),
        131072,
    ),
    (
        Phi3Config(
            max_position_embeddings=131072,
            original_max_position_embeddings=4096,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": LONG,
                "long_factor": LONG,
            },
        ),
        131072,
    ),
    (Gemma3TextConfig(max_position_embeddings=131072), 131072),
    (PreTrainedConfig(), None),
)


@pytest.mark.parametrize(("config", "length"), LENGTHS)
def test_the_length_is_that_after_scaling(config: PreTrainedConfig, length: int | None) -> None:
    assert context_length(config) == length


def test_prompt_and_answer_fill_the_context_and_no_more() -> None:
    config = Qwen2Config(max_position_embeddings=100)
    check_length(config, 68, 32)
    with pytest.raises(PromptTooLong, match="takes up 69 positions and the answer up to 32, .*100"):
        check_length(config, 69, 32)
    check_length(PreTrainedConfig(), 10**9, 1)


def test_positions_in_three_axes_are_recognised() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    assert has_three_axes(Qwen2VLConfig(text_config={"rope_parameters": rope}))
    assert not has_three_axes(LlamaConfig())


def lengths(batches: Any, suffixes: list[list[int]]) -> list[list[int]]:
    return [[len(suffixes[n]) for n in batch] for batch in batches]


def test_a_long_question_is_not_padded_with_short_ones() -> None:
    suffixes = [[n] * length for n, length in enumerate([12, 40_000, 14, 80, 300, 20, 39_000])]
    found = lengths(batches(suffixes, 16, same_length=False), suffixes)
    assert found == [[12, 14, 20, 80], [300], [39_000, 40_000]]


def test_questions_of_usual_lengths_stay_together() -> None:
    suffixes = [[n] * length for n, length in enumerate(range(10, 75, 8))]
    assert len(list(batches(suffixes, 16, same_length=False))) == 1


def test_batches_follow_from_the_questions_and_not_from_their_order() -> None:
    suffixes = [[n] * length for n, length in enumerate([500, 9, 7, 7, 1200, 70, 9])]
    one = lengths(batches(suffixes, 3, same_length=False), suffixes)
    other = lengths(batches(suffixes[::-1], 3, same_length=False), suffixes[::-1])
    assert one == other


@pytest.fixture(scope="module")
def demo() -> Model:
    return Model(DEMO_CHECKPOINT, VisionSpec())


@pytest.fixture(scope="module")
def visuals(demo: Model) -> list[Visual]:
    return [demo.visual(Scene("video", range(0, 16, 2), size=(64, 64), seed=3))]


def test_a_long_question_is_refused_before_it_is_read(demo: Model, visuals: list[Visual]) -> None:
    prefix = demo.decoder.prefill(visuals)
    demo.decoder.check_behind(prefix, "Which digit comes first?", 32)
    demo.decoder.check_behind(prefix, "Which digit comes first?", ["3", "a longer text"])
    for answer in (32, ["3"]):
        with pytest.raises(PromptTooLong, match="more than the 4,096 "):
            demo.decoder.check_behind(prefix, "word " * 5000, answer)
    with pytest.raises(PromptTooLong, match="the answer up to 4,000, together more"):
        demo.decoder.check_behind(prefix, "Which digit comes first?", 4000)


def test_plain_transformers_refuses_the_same(demo: Model) -> None:
    scene = demo.decoded(Scene("video", range(0, 16, 2), size=(64, 64), seed=3))
    with pytest.raises(PromptTooLong, match="more than the 4,096 "):
        demo.reference.answer(scene, "word " * 5000, SHORT)
    with pytest.raises(PromptTooLong, match="more than the 4,096 "):
        demo.reference.likelihoods(scene, "word " * 5000, ["3"])


def test_media_beyond_the_context_are_not_prefilled(
    demo: Model, visuals: list[Visual], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo.decoder.model.config.text_config, "max_position_embeddings", 200)
    monkeypatch.setattr("encodeonce.models.decoder.prefill", None)
    with pytest.raises(PromptTooLong, match="more than the 200 "):
        demo.decoder.prefill(visuals)


def test_short_questions_have_the_same_bits_beside_a_long_one(
    demo: Model, visuals: list[Visual]
) -> None:
    questions = ["Which digit comes first?", "How many scenes show the 3?"]
    alone = answered(demo.decoder, visuals, questions, SHORT)
    beside = answered(demo.decoder, visuals, [questions[0], "word " * 200, questions[1]], SHORT)
    assert [a.logits_sha256 for a in alone] == [a.logits_sha256 for a in beside[::2]]
