"""peft's ways in the bench, with peft itself: `make test-peft`."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from encodeonce.harness.bench.adapters.job import Prompt, written_by
from encodeonce.harness.bench.adapters.peft_ways import NAMES, peft_ways
from encodeonce.harness.bench.adapters.ways import Way, batches, copy_merge, ours
from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.checkpoint import read_adapter
from encodeonce.models.adapters.merging import MergedWeights
from encodeonce.models.synthetic.adapters import write_random_adapters

pytest.importorskip("peft", reason="peft is not installed: make test-peft")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

NUM_ADAPTERS, NUM_SAMPLES = 3, 2


def test_all_ways_write_the_same_and_leave_the_model_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    specs = write_random_adapters(tmp_path, model, NUM_ADAPTERS, rank=5)
    adapters = [read_adapter(spec) for spec in specs]
    prompt = Prompt(model, {"input_ids": torch.arange(1, 9)[None]}, None, 4)
    plain = {name: one.clone() for name, one in model.state_dict().items()}
    ways = peft_ways(model, specs)
    assert tuple(way.name for way in ways) == NAMES
    bank = AdapterBank(adapters, model)
    bank.detach()
    ways += [copy_merge(model, MergedWeights(adapters, model)), ours(model, bank, "ours")]
    found = [_answered(prompt, way) for way in ways]
    for way, one in zip(ways[1:], found[1:], strict=True):
        torch.testing.assert_close(one, found[0], rtol=0, atol=2e-5, msg=way.name)
    assert (found[0][0] - found[0][NUM_SAMPLES]).abs().max() > 1e-3, "adapters do nothing"
    for name, before in model.state_dict().items():
        assert torch.equal(before, plain[name])


def _answered(prompt: Prompt, way: Way) -> torch.Tensor:
    way.enter()
    written, row = [], 0
    for numbers in batches(way, NUM_ADAPTERS, NUM_SAMPLES, 4):
        _, one = prompt.answer(way, numbers, row, lambda: 0.0)
        written.append(one)
        row += len(numbers)
    way.leave()
    return written_by(written).log_probs
