"""Rows computed alone, since bitsandbytes' int8 lets a row's result depend on other rows."""

from typing import Any

import pytest

from encodeonce.models import decoder as prefix_decoder
from encodeonce.models.checkpoint.rows import mixes_rows
from encodeonce.models.family import find_family
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, GenerationSpec, ModelSpec, VisionSpec, WeightsSpec
from tests.asking import answered, swept
from tests.contracts.logits import TOLERANCE, NotedLogits

DEMO = ModelSpec(path="demo", dtype="float32", device="cpu")
QUESTIONS = ("Which digit comes first?", "How many scenes show the 3?", "Where?")
TEXTS = ("one", "seven and three", "a")
SPEC = GenerationSpec(max_new_tokens=4)
SETTINGS = [
    FULL,
    *(KVSpec(method=name, keep=0.5) for name in ("streaming_llm", "random")),
    *(KVSpec(method="random", keep=keep, scope="media") for keep in (0.4, 0.6)),
]


def decoder_of(weights: WeightsSpec) -> Any:
    family, folder = find_family(DEMO)
    return family.decoder(folder, DEMO, VisionSpec(), weights=weights)


@pytest.fixture(scope="module")
def int8() -> Any:
    # The demo's activations are small: at the usual threshold of 6 none of them is an outlier.
    return decoder_of(WeightsSpec(method="bnb-int8", options={"threshold": 1.0}))


def test_questions_and_settings_are_answered_with_the_bits_of_each_alone(int8: Any) -> None:
    together = int8.answer(int8.prefill([], SETTINGS), QUESTIONS, SPEC, SETTINGS, fidelity=True)
    for setting, answers in zip(SETTINGS, together, strict=True):
        for question, answer in zip(QUESTIONS, answers, strict=True):
            ((alone,),) = swept(int8, [], [question], SPEC, [setting])
            assert answer.logits_sha256 == alone.logits_sha256
    plain = answered(int8, [], QUESTIONS, SPEC)
    assert [a.logits_sha256 for a in plain] == [a.logits_sha256 for a in together[0]]


def test_texts_are_as_likely_as_each_alone(int8: Any) -> None:
    ((plain,),) = int8.score(int8.prefill([]), QUESTIONS[:1], [TEXTS])
    together = int8.score(int8.prefill([], SETTINGS), QUESTIONS[:1], [TEXTS], SETTINGS)
    assert together[0][0].log_probs == plain.log_probs
    for setting, (found,) in zip(SETTINGS, together, strict=True):
        for text, log_prob in zip(TEXTS, found.log_probs, strict=True):
            prefix = int8.prefill([], [setting])
            ((alone,),) = int8.score(prefix, QUESTIONS[:1], [[text]], [setting])
            assert alone.log_probs == (log_prob,)


def test_as_one_batch_the_difference_would_not_be_rounding(
    int8: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    alone = answered(int8, [], QUESTIONS, SPEC)
    monkeypatch.setattr(prefix_decoder, "mixes_rows", lambda model: False)
    together = answered(int8, [], QUESTIONS, SPEC)
    differences = map(logits.first_difference, alone, together)
    assert max(differences) > 100 * TOLERANCE


@pytest.mark.parametrize(
    "weights",
    [NONE, WeightsSpec(method="bnb-int8", options={"threshold": 0}), WeightsSpec(method="rtn")],
    ids=lambda weights: weights.title,
)
def test_other_weights_are_computed_as_one_batch(weights: WeightsSpec) -> None:
    assert not mixes_rows(decoder_of(weights).model)
