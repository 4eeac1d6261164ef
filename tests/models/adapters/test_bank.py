"""Adapters beside a decoder's layers: whose rows they change, and how they come and go."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.checkpoint import Adapter, LowRank
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.operators import KINDS, Kind
from encodeonce.models.language.adapting import BASE
from tests.models.adapters.made import factors, read, widths_of, write

IDS = torch.arange(1, 31).reshape(5, 6)
INDEX = (0, BASE, 2, 1, 0)


def llama(num_layers: int = 2, width: int = 32) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> Any:
    return llama()


@pytest.fixture(scope="module")
def adapters(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Adapter]:
    """Of different ranks, on different modules; the last one on the head as well."""
    root = tmp_path_factory.mktemp("adapters")
    shapes = {
        "attention": (("q_proj", "v_proj"), 4),
        "all": (("q_proj", "k_proj", "o_proj", "up_proj", "down_proj"), 6),
        "head": (("gate_proj",), 3),
    }
    found = []
    for seed, (title, (ends, rank)) in enumerate(shapes.items()):
        widths = widths_of(model, ends, "model.")
        if title == "head":
            widths["lm_head"] = (32, 64)
        found.append(read(write(root / title, factors(widths, rank, seed), r=rank)))
    return found


def logits(model: Any, ids: torch.Tensor = IDS, **options: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=ids, **options).logits)


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_rows_of_different_adapters_are_each_alone(
    model: Any, adapters: Sequence[Adapter], kind: Kind | None
) -> None:
    plain = logits(model)
    bank = AdapterBank(adapters, model, kind=kind)
    try:
        with bank.using(INDEX):
            mixed = logits(model)
        for row, number in enumerate(INDEX):
            with bank.using(number):
                alone = logits(model, IDS[row : row + 1])[0]
            torch.testing.assert_close(mixed[row], alone, rtol=0, atol=1e-5)
            assert number == BASE or (mixed[row] - plain[row]).abs().max() > 0.1
        assert torch.equal(mixed[1], plain[1])
        assert torch.equal(logits(model), plain), "outside the block nothing is added"
    finally:
        bank.detach()
    assert torch.equal(logits(model), plain)


def test_tokens_of_one_row_may_be_under_different_adapters(
    model: Any, adapters: Sequence[Adapter]
) -> None:
    bank = AdapterBank(adapters, model)
    try:
        with bank.using([[BASE, BASE, BASE, 2, 2, 2]]):
            mixed = logits(model, IDS[:1])
            last = logits(model, IDS[:1], logits_to_keep=1)
        with bank.using(2):
            everywhere = logits(model, IDS[:1])
        plain = logits(model, IDS[:1])
        torch.testing.assert_close(mixed[0, :3], plain[0, :3], rtol=0, atol=1e-5)
        assert (mixed[0, 3:] - plain[0, 3:]).abs().max() > 0.1
        assert (mixed[0, 3:] - everywhere[0, 3:]).abs().max() > 1e-3, "they see other keys"
        torch.testing.assert_close(last[0, 0], mixed[0, -1], rtol=0, atol=1e-5)
    finally:
        bank.detach()


def test_an_exception_inside_a_pass_leaves_the_model_as_it_was(
    model: Any, adapters: Sequence[Adapter]
) -> None:
    plain = logits(model)
    bank = AdapterBank(adapters, model)

    def fail(*_: Any) -> None:
        raise MemoryError

    handle = model.model.layers[1].mlp.register_forward_pre_hook(fail)
    try:
        with pytest.raises(MemoryError), bank.using(INDEX):
            logits(model)
        handle.remove()
        assert torch.equal(logits(model), plain)
    finally:
        bank.detach()


def test_outputs_with_gaps_between_rows_are_added_to_as_others(
    model: Any, adapters: Sequence[Adapter]
) -> None:
    index = (0, 0, BASE, 1, 1)
    bank = AdapterBank(adapters, model)
    with bank.using(index):
        expected = logits(model)
    bank.detach()
    gaps = [
        part.register_forward_hook(lambda _, x, y: torch.cat([y, y], 1)[:, : y.shape[1]])
        for part in model.modules()
        if isinstance(part, nn.Linear)
    ]
    bank.attach()
    try:
        for kind in KINDS:
            bank.kind = kind
            with bank.using(index):
                torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-5)
    finally:
        bank.detach()
        for gap in gaps:
            gap.remove()


def test_a_kind_that_does_not_exist(model: Any, adapters: Sequence[Adapter]) -> None:
    with pytest.raises(ValueError, match="kind: must be one of rows, gather, .*; got 'row'"):
        AdapterBank(adapters, model, kind="row")  # type: ignore[arg-type]


def test_two_models_have_banks_of_their_own(model: Any, adapters: Sequence[Adapter]) -> None:
    other = llama()
    bank, second = AdapterBank(adapters[:1], model), AdapterBank(adapters[1:2], other)
    try:
        with bank.using(0):
            assert not torch.equal(logits(model), logits(other))
        with second.using(BASE):
            assert torch.equal(logits(model), logits(other))
    finally:
        bank.detach()
        second.detach()


def test_numbers_and_titles(model: Any, adapters: Sequence[Adapter]) -> None:
    bank = AdapterBank(adapters, model)
    try:
        assert bank.titles == ("attention", "all", "head")
        assert bank.number("all") == 1
        with pytest.raises(AdapterError, match="no adapter 'x'; there are attention, all, head"):
            bank.number("x")
        with pytest.raises(ValueError, match="adapter 3 of 3"):
            bank.using([0, 3])
        with bank.using([0, 1]), pytest.raises(ValueError, match="adapters of"):
            logits(model)  # five rows
    finally:
        bank.detach()
    with pytest.raises(AdapterError, match="two adapters are called 'all'"):
        AdapterBank([adapters[1], adapters[1]], model)


def test_an_adapter_that_does_not_fit_leaves_no_hooks(
    model: Any, adapters: Sequence[Adapter], tmp_path: Path
) -> None:
    other = read(write(tmp_path, factors({"model.layers.9.self_attn.q_proj": (32, 32)})))
    with pytest.raises(AdapterError, match=r"layers\.9"):
        AdapterBank([adapters[0], other], model)
    assert not any(part._forward_hooks for part in model.modules())


def test_bytes_are_those_of_the_factors(model: Any, adapters: Sequence[Adapter]) -> None:
    bank = AdapterBank(adapters[:1], model)
    bank.detach()
    inputs_and_outputs = 2 * ((32 + 32) + (32 + 16))
    assert bank.nbytes == 4 * 4 * inputs_and_outputs
    assert set(bank.module_names) == {
        f"layers.{n}.self_attn.{one}" for n in (0, 1) for one in ("q_proj", "v_proj")
    }


def test_many_adapters_are_attached_quickly() -> None:
    """28 layers with seven modules each, and 64 adapters: peft takes most of a minute."""
    model = llama(num_layers=28, width=16)
    widths = {
        name: part
        for name, part in model.model.named_modules()
        if isinstance(part, nn.Linear) and "layers" in name
    }
    products = {
        f"model.{name}": LowRank(
            a=torch.ones(8, part.in_features),
            b=torch.ones(part.out_features, 8),
            bias=None,
            scaling=1.0,
        )
        for name, part in widths.items()
    }
    adapters = [
        Adapter(title=f"{n}", file=Path("f"), base=None, products=products, copies={})
        for n in range(64)
    ]
    start = time.process_time()
    bank = AdapterBank(adapters, model)
    assert time.process_time() - start < 2.0
    assert len(bank.module_names) == 28 * 7
