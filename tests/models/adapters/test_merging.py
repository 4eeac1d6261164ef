"""An adapter in the weights: what it gives, and that nothing of it stays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.checkpoint import Adapter
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.merging import MergedWeights
from tests.models.adapters.made import factors, read, widths_of, write
from tests.models.adapters.test_bank import llama, logits


@pytest.fixture
def model() -> Any:
    return llama()


@pytest.fixture
def adapters(model: Any, tmp_path: Path) -> Sequence[Adapter]:
    found = []
    for seed, ends in enumerate((("q_proj", "down_proj"), ("down_proj", "o_proj"))):
        weights = factors(widths_of(model, ends, "model."), 4, seed)
        if seed:
            biases = {
                key.replace("B.weight", "B.bias"): torch.ones(len(one))
                for key, one in weights.items()
                if "lora_B" in key
            }
            weights |= biases
        found.append(read(write(tmp_path / f"{seed}", weights, lora_bias=bool(seed))))
    return found


def test_merged_answers_as_beside_the_weights(model: Any, adapters: Sequence[Adapter]) -> None:
    bank = AdapterBank(adapters, model)
    expected = []
    for number in (0, 1):
        with bank.using(number):
            expected.append(logits(model))
    bank.detach()
    weights = MergedWeights(adapters, model)
    for number in (0, 1, 0):
        weights.switch(number)
        assert weights.merged == number
        torch.testing.assert_close(logits(model), expected[number], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_switches_leave_no_bit_behind(
    model: Any, adapters: Sequence[Adapter], dtype: torch.dtype
) -> None:
    model.to(dtype)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    weights = MergedWeights(adapters, model)
    for number in (0, 1, None, 1, 0, 1):
        weights.switch(number)
    merged = model.state_dict()
    assert any(not torch.equal(merged[name], one) for name, one in before.items())
    weights.switch(None)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], one) for name, one in before.items())


def test_a_failure_while_merging_can_be_undone(
    model: Any, adapters: Sequence[Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: one.clone() for name, one in model.state_dict().items()}
    weights = MergedWeights(adapters, model)
    put, calls = weights._put, []

    def failing(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise MemoryError
        put(*args)

    monkeypatch.setattr(weights, "_put", failing)
    with pytest.raises(MemoryError):
        weights.switch(0)
    assert weights.merged is None
    weights.switch(None)
    assert all(torch.equal(model.state_dict()[name], one) for name, one in before.items())


def test_what_cannot_be_merged(model: Any, adapters: Sequence[Adapter], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="adapter 2 of 2"):
        MergedWeights(adapters, model).switch(2)
    head = read(write(tmp_path / "head", factors({"lm_head": (32, 64)})))
    model.lm_head.weight = model.model.embed_tokens.weight
    with pytest.raises(AdapterError, match="lm_head shares its weights with the embeddings"):
        MergedWeights([head], model)

    class Packed(nn.Linear):
        """Stands for a layer whose weights are packed."""

    layer = model.model.layers[0].mlp
    layer.down_proj.__class__ = Packed
    with pytest.raises(AdapterError, match=r"layers\.0\.mlp\.down_proj is a Packed with quant"):
        MergedWeights(adapters, model)
