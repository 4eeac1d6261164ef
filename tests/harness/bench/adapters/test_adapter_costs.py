"""What adapters cost, measured on a tiny model: that each figure is of what it says."""

import time
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from encodeonce.harness.bench.adapters import costs
from encodeonce.harness.bench.adapters.costs import measure_adapters
from encodeonce.harness.serving.adapters.load import AdaptersLoad, RandomAdapters
from encodeonce.models.adapters.operators import KINDS
from encodeonce.models.synthetic.adapters import write_random_adapters


@pytest.fixture
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def test_costs_of_random_and_real_adapters(
    model: LlamaForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "has_peft", lambda: False)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    random = AdaptersLoad(number=4, random=RandomAdapters(rank=6))
    folders = tuple(write_random_adapters(tmp_path, model, 2, rank=3))
    for load, rank in ((random, 6), (AdaptersLoad(number=2, folders=folders), 3)):
        found = measure_adapters(model, load, 2, time.process_time)
        assert found.rank == rank
        assert set(found.decode) == set(KINDS)
        assert found.switch_s > 0
        for kind in KINDS:
            assert found.step_s(kind, 2, 16) > 0
        assert sum(found.prompt) > 0
    assert all(torch.equal(model.state_dict()[name], one) for name, one in before.items())
    assert not any(part._forward_hooks for part in model.modules())
