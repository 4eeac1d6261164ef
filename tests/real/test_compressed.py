"""Compressed caches of a real model, on prose: against masked passes, against kvpress, in order."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from encodeonce.models.kv.spec import FULL, KVSpec
from tests.contracts import kvpress as by_hooks
from tests.contracts.kv import KVContract
from tests.real.conftest import FACTOR
from tests.real.merging import Trained
from tests.real.needles import Reading, nll_rise, read
from tests.real.prose import Hidden, prompts
from tests.real.smollm2 import ANSWER, TextDecoder


@pytest.fixture(scope="module")
def hidden(decoder: TextDecoder) -> Hidden:
    (found,) = prompts(decoder, 1, num_tokens=384)
    return found


class TestAgainstMaskedPasses(KVContract):
    """Every method: decoding sees exactly what was kept, in a plain pass over the whole prompt.

    What methods that merge make is seen in a pass behind the merged entries. The compressor is a
    trained one: random nets make entries so large that the model's rounding decides its answers.
    """

    questions: Sequence[str] = (f"Where was the fire?{ANSWER}The", "What is this text about?")

    @pytest.fixture
    def models(self, decoder: TextDecoder, hidden: Hidden, trained: Trained) -> dict[str, Any]:
        self._text, self._compressor = hidden.text, trained.folder
        return {"smollm2": SimpleNamespace(decoder=decoder)}

    def visuals(self, model: Any) -> list[Any]:
        return [self._text]

    def merging(
        self, decoder: Any, visuals: Sequence[Any], folder: Path
    ) -> Iterator[tuple[str, float, dict[str, Any]]]:
        yield "look_m", 0.4, {}
        yield "ccm", 1 / FACTOR, {"path": str(self._compressor)}


def press(name: str, keep: float) -> Any:
    """Return what kvpress has for one of our methods."""
    kvpress = pytest.importorskip("kvpress")
    ratio = 1 - keep
    presses = {
        "adakv": lambda: kvpress.AdaKVPress(kvpress.SnapKVPress(ratio), alpha_safeguard=0.2),
        "expected_attention": lambda: kvpress.ExpectedAttentionPress(ratio, epsilon=0.0),
        "keydiff": lambda: kvpress.KeyDiffPress(ratio),
        "knorm": lambda: kvpress.KnormPress(ratio),
        "pyramidkv": lambda: kvpress.PyramidKVPress(ratio),
        "snapkv": lambda: kvpress.SnapKVPress(ratio),
        "streaming_llm": lambda: kvpress.StreamingLLMPress(ratio),
        "tova": lambda: kvpress.TOVAPress(ratio),
    }
    return presses[name]()


@pytest.mark.parametrize(
    "method",
    [
        "adakv",
        "expected_attention",
        "keydiff",
        "knorm",
        "pyramidkv",
        "snapkv",
        "streaming_llm",
        "tova",
    ],
)
def test_what_kvpress_has_too_keeps_and_answers_the_same(
    decoder: TextDecoder, hidden: Hidden, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(KVSpec(method=method, keep=keep), press(method, keep)) for keep in (0.5, 0.25)]
    by_hooks.assert_same(decoder, [hidden.text], hidden.question, pairs, monkeypatch)


COMPARED = {
    "full": FULL,
    "int8": KVSpec(method="full", precision="int8"),
    "int4": KVSpec(method="full", precision="int4"),
    **{name: KVSpec(method=name, keep=0.5) for name in ("tova", "expected_attention", "random")},
    "random shared": KVSpec(method="random", keep=0.5, options={"shared": True}),
}


@pytest.fixture(scope="module")
def readings(decoder: TextDecoder) -> dict[str, list[Reading]]:
    rows = [
        read(decoder, prompt, list(COMPARED.values()))
        for prompt in prompts(decoder, 8, num_tokens=768)
    ]
    return {name: [row[n] for row in rows] for n, name in enumerate(COMPARED)}


def test_the_full_cache_reads_the_codes(readings: dict[str, list[Reading]]) -> None:
    assert sum(one.is_right for one in readings["full"]) >= 4


@pytest.mark.parametrize("control", ["random", "random shared"])
@pytest.mark.parametrize("method", ["tova", "expected_attention"])
def test_methods_that_see_the_question_do_better_than_chance(
    readings: dict[str, list[Reading]], method: str, control: str
) -> None:
    gain = nll_rise(readings[method], readings[control])
    assert gain.mean - gain.half > 0


def test_quantised_entries_lose_little(readings: dict[str, list[Reading]]) -> None:
    int8, int4 = (nll_rise(readings["full"], readings[name]).mean for name in ("int8", "int4"))
    assert abs(int8) < 0.02
    assert abs(int8) < abs(int4) < nll_rise(readings["full"], readings["random"]).mean
