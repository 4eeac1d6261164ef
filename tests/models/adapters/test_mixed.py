"""Rows under other adapters beside the one that is in the weights."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.checkpoint import Adapter
from encodeonce.models.adapters.merging import MergedWeights
from encodeonce.models.adapters.operators import KINDS, Kind
from encodeonce.models.language.adapting import BASE
from tests.models.adapters.made import factors, read, widths_of, write
from tests.models.adapters.test_bank import IDS, llama, logits

INDEX = (0, BASE, 2, 1, 0)


@pytest.fixture
def model() -> Any:
    return llama()


@pytest.fixture
def adapters(model: Any, tmp_path: Path) -> Sequence[Adapter]:
    """On different modules, one with biases, one on the head."""
    found = []
    for seed, ends in enumerate((("q_proj", "down_proj"), ("down_proj", "o_proj"), ("up_proj",))):
        widths = widths_of(model, ends, "model.")
        if seed == 2:
            widths["lm_head"] = (32, 64)
        weights = factors(widths, 3 + seed, seed)
        if seed == 1:
            biases = {
                key.replace("B.weight", "B.bias"): torch.ones(len(one))
                for key, one in weights.items()
                if "lora_B" in key
            }
            weights |= biases
        fields = {"r": 3 + seed, "lora_bias": seed == 1}
        found.append(read(write(tmp_path / f"{seed}", weights, **fields)))
    return found


@pytest.fixture(params=[None, *KINDS])
def bank(model: Any, adapters: Sequence[Adapter], request: Any) -> Iterator[AdapterBank]:
    kind: Kind | None = request.param
    found = AdapterBank(adapters, model, kind=kind)
    yield found
    found.detach()


@pytest.mark.parametrize("merged", [0, 1, 2])
def test_mixed_rows_are_those_beside_the_weights(
    model: Any, adapters: Sequence[Adapter], bank: AdapterBank, merged: int
) -> None:
    with bank.using(INDEX):
        expected = logits(model)
    plain = logits(model)
    weights = MergedWeights(adapters, model)
    weights.switch(merged)
    bank.attach(merged)
    with bank.using(INDEX):
        mixed = logits(model)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=3e-4)
    torch.testing.assert_close(logits(model), plain, rtol=0, atol=3e-4)  # nobody said: the base
    for number in (BASE, *range(3)):
        with bank.using(number):
            alone = logits(model, IDS[1:2])
        bank.detach()
        weights.switch(None)
        bank.attach()
        with bank.using(number):
            wanted = logits(model, IDS[1:2])
        weights.switch(merged)
        bank.attach(merged)
        torch.testing.assert_close(alone, wanted, rtol=0, atol=3e-4)
    bank.attach()
    weights.switch(None)
    with bank.using(INDEX):
        assert torch.equal(logits(model), expected), "unmerged again, bit for bit"


def test_rows_under_the_merged_one_have_its_bits(model: Any, adapters: Sequence[Adapter]) -> None:
    model.to(torch.bfloat16)
    bank, weights = AdapterBank(adapters, model), MergedWeights(adapters, model)
    bank.detach()
    weights.switch(0)
    merged = logits(model)
    bank.attach(0)
    with bank.using(INDEX):
        mixed = logits(model)
    assert torch.equal(mixed[[0, 4]], merged[[0, 4]])
    assert not torch.equal(mixed[1:4], merged[1:4])
    with bank.using(0):
        assert torch.equal(logits(model), merged)


def test_tokens_of_a_mixed_row_may_be_under_different_adapters(
    model: Any, adapters: Sequence[Adapter]
) -> None:
    bank, index = AdapterBank(adapters, model), [[BASE, BASE, 1, 1, 2, 2]]
    with bank.using(index):
        expected = logits(model, IDS[:1])
    weights = MergedWeights(adapters, model)
    weights.switch(2)
    bank.attach(2)
    with bank.using(index):
        mixed, last = logits(model, IDS[:1]), logits(model, IDS[:1], logits_to_keep=1)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=3e-4)
    torch.testing.assert_close(last[0, 0], expected[0, -1], rtol=0, atol=3e-4)
