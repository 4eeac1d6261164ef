"""Presses of kvpress through the adapter, where kvpress is installed."""

from typing import Any

import pytest

from encodeonce.models.kv.method import check_kv
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.language.generation import GenerationSpec
from encodeonce.models.vision.visual import Visual
from tests.asking import swept
from tests.contracts.logits import NotedLogits

pytest.importorskip("kvpress")

SAME = {
    "knorm": ({}, {"press": "KnormPress"}),
    "snapkv": ({"window": 8}, {"press": "SnapKVPress", "args": {"window_size": 8}}),
    "tova": ({}, {"press": "TOVAPress"}),
}


@pytest.mark.parametrize("name", SAME)
def test_a_press_keeps_what_our_method_keeps(
    decoder: Any, visuals: list[Visual], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    options, press = SAME[name]
    settings = [
        KVSpec(method=name, keep=0.4, options=options),
        KVSpec(method="kvpress", keep=0.4, options=press),
    ]
    questions = ["Which digit comes first?", "How many scenes show the 3?"]
    ours, theirs = swept(decoder, visuals, questions, GenerationSpec(max_new_tokens=4), settings)
    for one, other in zip(ours, theirs, strict=True):
        logits.assert_close(one, other)
        assert one.kv == other.kv


def test_a_press_that_does_not_score_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="press must be one of .*SnapKVPress.*got 'ThinKPress'"):
        check_kv(KVSpec(method="kvpress", keep=0.5, options={"press": "ThinKPress"}))
