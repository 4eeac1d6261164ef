"""Answers from stored features follow a checkpoint's generation config, as plain ones do."""

from collections.abc import Iterator
from typing import Any

import pytest

from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.logits_rules import logits_rules
from encodeonce.models.spec import GenerationSpec, VisionSpec
from tests.asking import swept
from tests.contracts.family import QUESTION, Model, Scene

SPEC = GenerationSpec(max_new_tokens=8)
SCENE = Scene("video", range(0, 16, 2), size=(64, 64), seed=3)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(DEMO_CHECKPOINT, VisionSpec())


@pytest.fixture
def config(model: Model) -> Iterator[Any]:
    """Yield the decoder's generation config and the reference's, and restore both."""
    configs = [model.decoder.model.generation_config, model.reference.model.generation_config]
    before = [config.to_dict() for config in configs]
    for config in configs:
        config.eos_token_id = None  # a long answer shows more
    yield configs
    for config, values in zip(configs, before, strict=True):
        config.update(**values)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"repetition_penalty": 50.0},
        {"no_repeat_ngram_size": 1},
        {"suppress_tokens": [*range(40, 60)]},
        {"begin_suppress_tokens": [*range(30, 90)]},
        {"bad_words_ids": [[n] for n in range(45, 55)]},
        {"sequence_bias": [[[n], 5.0] for n in range(3, 6)]},
    ],
)
def test_the_tokens_are_those_of_plain_transformers(
    model: Model, config: list[Any], rule: dict[str, Any]
) -> None:
    for one in config:
        one.update(**rule)
    plain = model.reference.answer(model.decoded(SCENE), QUESTION, SPEC)
    settings = [FULL, KVSpec(method="full", precision="int8"), KVSpec(method="random", keep=0.99)]
    (ours,), *_ = swept(model.decoder, [model.visual(SCENE)], [QUESTION], SPEC, settings)
    assert ours.token_ids == plain.token_ids
    assert len(ours.token_ids) == 8


def test_every_rule_of_these_changes_the_answer(model: Model, config: list[Any]) -> None:
    free = model.reference.answer(model.decoded(SCENE), QUESTION, SPEC).token_ids
    for rule in ({"repetition_penalty": 50.0}, {"suppress_tokens": list(set(free))}):
        for one in config:
            one.update(**rule)
        assert model.reference.answer(model.decoded(SCENE), QUESTION, SPEC).token_ids != free


def test_a_least_length_keeps_the_answer_from_ending(model: Model, config: list[Any]) -> None:
    for one in config:
        one.update(eos_token_id=[*range(100)], min_new_tokens=5)
    plain = model.reference.answer(model.decoded(SCENE), QUESTION, SPEC)
    ((ours,),) = swept(model.decoder, [model.visual(SCENE)], [QUESTION], SPEC, [FULL])
    assert ours.token_ids == plain.token_ids
    assert len(ours.token_ids) >= 5


def test_a_rule_that_is_not_known_is_refused(model: Model, config: list[Any]) -> None:
    config[0].update(guidance_scale=2.0)
    with pytest.raises(NotImplementedError, match=r"generation_config.json: guidance_scale is 2.0"):
        logits_rules(model.decoder.model, 10)
