"""Fidelity to the full cache's answer, compared with the logits of answers written freely."""

from typing import Any

import pytest

from encodeonce.models.answer import Fidelity, Generation
from encodeonce.models.kv.engine import DecodeEngine
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual
from tests.contracts.logits import NotedLogits, Tokens

QUESTIONS = ["Which digit is shown first?", "How often is the digit 3 shown?"]
SETTINGS = [
    FULL,
    KVSpec(method="full", precision="int8", scope="media"),
    KVSpec(method="snapkv", keep=0.3, scope="media"),
    KVSpec(method="full", precision="int8"),
]
SPEC = GenerationSpec(max_new_tokens=5)


def asked(decoder: Any, visuals: list[Visual], max_bytes: int | None) -> list[list[Generation]]:
    engine = DecodeEngine(
        decoder.model, decoder.tokenizer, SETTINGS, SPEC, fidelity=True, max_bytes=max_bytes
    )
    prefix = decoder.prefill(visuals, SETTINGS)
    for key in ("one", "other"):
        engine.ask(key, prefix, QUESTIONS)
    return engine.finish()["other"]


def divergence(full: Tokens, other: Tokens, step: int) -> float:
    expected, got = full.logits_TV[step].log_softmax(-1), other.logits_TV[step].log_softmax(-1)
    return float((expected.exp() * (expected - got)).sum())


def of(answer: Generation) -> Fidelity:
    assert answer.fidelity is not None
    return answer.fidelity


def test_over_a_compressed_prefix_every_token_counts(
    decoder: Any, visuals: list[Visual], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    full, *others = asked(decoder, visuals, None)
    for setting, answers in zip(SETTINGS[1:], others, strict=True):
        for mine, whole in zip(answers, full, strict=True):
            first = 0 if setting.scope == "media" else 1
            assert of(mine).num_tokens == len(whole.token_ids) - first
            one, other = logits.of(whole), logits.of(mine)
            # As long as both have written the same, what was forced is what was written.
            same = [
                step
                for step in range(first, len(whole.token_ids))
                if mine.token_ids[:step] == whole.token_ids[:step]
            ]
            assert same[:1] == [first]
            kl = sum(divergence(one, other, step) for step in same)
            if len(same) == of(mine).num_tokens:
                assert of(mine).total_kl == pytest.approx(kl, rel=1e-3, abs=1e-6)
            else:
                assert of(mine).total_kl >= kl - 1e-6


def test_answers_that_were_decoded_early_are_still_there_to_compare_with(
    decoder: Any, visuals: list[Visual]
) -> None:
    """With no memory for rows that wait, every batch is decoded before the next is read."""
    at_once = asked(decoder, visuals, None)
    in_turn = asked(decoder, visuals, 0)
    for together, alone in zip(at_once, in_turn, strict=True):
        for one, other in zip(together, alone, strict=True):
            assert one.token_ids == other.token_ids
            if one.fidelity is not None:
                assert of(other).num_tokens == one.fidelity.num_tokens
                assert of(other).total_kl == pytest.approx(one.fidelity.total_kl, abs=1e-5)
