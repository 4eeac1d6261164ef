"""Presses of kvpress through the adapter, against kvpress's own hooks: `make test-kvpress`.

The comparison itself is `tests.contracts.kvpress`.
"""

from pathlib import Path
from typing import Any

import pytest

from encodeonce.models.kv.attention import attention_modules
from encodeonce.models.kv.presses import REFUSED, USED, make_press
from encodeonce.models.kv.registry import check_kv
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import VisionSpec
from encodeonce.models.vision.visual import Visual
from tests.asking import swept
from tests.contracts import kvpress as by_hooks
from tests.contracts.family import Model, Scene
from tests.contracts.kvpress import LONG
from tests.fixtures.tiny.gemma3 import write_tiny_gemma3
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen3_vl

kvpress = pytest.importorskip("kvpress")

QUESTIONS = ["Which digit comes first?", "How many scenes show the 3?"]
ARGS: dict[str, dict[str, Any]] = {
    "SnapKVPress": {"window_size": 8},
    "PyramidKVPress": {"window_size": 8, "beta": 4},
    "LagKVPress": {"lag_size": 16},
    "NonCausalAttnPress": {"chunk_size": 64},
    "RandomPress": {"seed": 7},
    "CURPress": {"leverage_type": "kv_avg"},
}


def setting(press: str, keep: float, **more: Any) -> KVSpec:
    options = {"press": press, "args": ARGS.get(press, {})}
    return KVSpec(method="kvpress", keep=keep, options=options, **more)


def assert_same(
    decoder: Any, visuals: list[Visual], press: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare a press through the adapter with the press by its own hooks."""
    for question in QUESTIONS:
        presses = [
            (setting(press, keep), make_press(press, ARGS.get(press, {}), keep))
            for keep in (0.2, 0.55)
        ]
        with monkeypatch.context() as patches:
            by_hooks.assert_same(decoder, visuals, question, presses, patches)


@pytest.mark.parametrize("press", USED)
def test_a_press_keeps_what_kvpress_keeps(
    decoder: Any, visuals: list[Visual], press: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same(decoder, visuals, press, monkeypatch)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(write_tiny_gemma3(tmp_path_factory.mktemp("gemma3")), VisionSpec())


@pytest.mark.parametrize("press", ["SnapKVPress", "StreamingLLMPress", "TOVAPress"])
def test_layers_with_a_window_are_left_alone_as_kvpress_does(
    gemma: Model, press: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visuals = [gemma.visual(Scene("image", range(1), size=(64, 64), seed=3))]
    assert_same(gemma.decoder, visuals, press, monkeypatch)


def test_every_press_is_used_or_refused_with_a_reason() -> None:
    every = {
        name
        for name, one in vars(kvpress).items()
        if isinstance(one, type) and issubclass(one, kvpress.BasePress)
    }
    assert every == {*USED, *REFUSED}
    for name in sorted(every):
        if name in USED:
            check_kv(setting(name, 0.5))
        else:
            with pytest.raises(ValueError, match=rf"{name} of kvpress is not used: .{{20}}"):
                check_kv(setting(name, 0.5))


def test_the_model_is_left_as_it_was(decoder: Any, visuals: list[Visual]) -> None:
    before = [dict(vars(module)) for module in attention_modules(decoder.model)]
    swept(decoder, visuals, QUESTIONS, LONG, [setting("ExpectedAttentionPress", 0.5)])
    after = [dict(vars(module)) for module in attention_modules(decoder.model)]
    assert [set(one) - {"masked_key_indices"} for one in after] == [
        set(one) - {"masked_key_indices"} for one in before
    ]
    assert not any("rotary_emb" in name for name, _ in decoder.model.named_parameters())


def test_attention_that_kvpress_would_misread_is_refused(tmp_path: Path) -> None:
    model = Model(write_tiny_qwen3_vl(tmp_path / "model"), VisionSpec(tap="projected"))
    visuals = [model.visual(Scene("image", range(1), size=(64, 64), seed=3))]
    with pytest.raises(ValueError, match="knows no Qwen3VLTextAttention: .*normalisation"):
        swept(model.decoder, visuals, QUESTIONS, LONG, [setting("TOVAPress", 0.5)])


def test_a_prompt_shorter_than_the_window_is_said(decoder: Any, visuals: list[Visual]) -> None:
    spec = KVSpec(
        method="kvpress",
        keep=0.5,
        options={"press": "SnapKVPress", "args": {"window_size": 100_000}},
    )
    with pytest.raises(ValueError, match="SnapKVPress of kvpress: .*window size 100000"):
        swept(decoder, visuals, QUESTIONS[:1], LONG, [spec])


WRONG_ARGS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("SnapKVPress", {"window": 8}, "args.window: SnapKVPress has no such argument.*window_size"),
    ("SnapKVPress", {"window_size": "eight"}, "args.window_size: must be a whole number.*'eight'"),
    ("SnapKVPress", {"window_size": 0}, "args.window_size: must be at least 1; got 0"),
    ("SnapKVPress", {"window_size": True}, "args.window_size: must be a number; got true"),
    ("SnapKVPress", {"kernel_size": 4}, "args.kernel_size: must be odd; got 4"),
    ("KnormPress", {"compression_ratio": 0.5}, "args.compression_ratio: give the budget by keep"),
    ("StreamingLLMPress", {"n_sink": -1}, "args.n_sink: must be at least 0; got -1"),
    ("RandomPress", {}, "args.seed is missing"),
    ("CURPress", {"use_random_leverage": True}, "args.use_random_leverage: must be false"),
    ("CURPress", {"leverage_type": "keys"}, "args.leverage_type: must be 'key', .*'keys'"),
    ("LagKVPress", {"lag_size": 2.5}, "args.lag_size: must be a whole number.*2.5"),
)


@pytest.mark.parametrize(("press", "args", "said"), WRONG_ARGS)
def test_wrong_arguments_are_refused(press: str, args: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_kv(KVSpec(method="kvpress", keep=0.5, options={"press": press, "args": args}))
