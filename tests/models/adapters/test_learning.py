"""Adapters while they are trained: what they begin as, what gradients reach, what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.form import LoraForm
from encodeonce.models.adapters.learning import LearntLora, answer_loss, language_linears
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.writing import targets, write_adapter
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.language.likelihood import extended_inputs
from encodeonce.models.spec import VisionSpec
from tests.contracts.family import Model, Scene
from tests.models.adapters.made import read
from tests.models.adapters.test_bank import llama, logits
from tests.models.adapters.test_quantised import model_of

QUESTIONS = ("How often is the 3 shown?", "Which digit?")


def noisy(lora: LearntLora) -> LearntLora:
    """Give B weights that do something."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for b in lora.b:
            b.copy_(0.1 * torch.randn(b.shape, generator=noise))
    return lora


def test_a_new_adapter_changes_nothing_and_leaves_nothing() -> None:
    model = llama()
    plain, lora = logits(model), LearntLora(model, LoraForm(r=3))
    with lora.attached():
        assert torch.equal(logits(model), plain)
    with noisy(lora).attached():
        assert (logits(model) - plain).abs().max() > 0.01
    assert torch.equal(logits(model), plain)
    assert not any(one.requires_grad for one in model.parameters())


@pytest.mark.parametrize("form", [LoraForm(r=3), LoraForm(r=4, rslora=True, alpha=3)])
def test_what_is_written_is_what_was_trained(tmp_path: Path, form: LoraForm) -> None:
    model = llama()
    lora = noisy(LearntLora(model, form))
    write_adapter(tmp_path, lora.products(), form, "a/model")
    bank = AdapterBank([read(tmp_path)], model)
    with bank.using(0):
        found = logits(model)
    bank.detach()
    with lora.attached():
        assert torch.allclose(found, logits(model), atol=1e-6)
    other = LearntLora(model, form, seed=5)
    other.load(read(tmp_path), model)
    with lora.attached():
        expected = logits(model)
    with other.attached():
        assert torch.equal(logits(model), expected)
    with pytest.raises(AdapterError, match="other layers, ranks or another alpha"):
        LearntLora(model, form.model_copy(update={"r": 2})).load(read(tmp_path), model)


def test_the_loss_over_a_shared_prefix_is_that_of_whole_prompts() -> None:
    """With its gradients: those of several questions add up in the prefix's keys and values."""
    decoder = Model(DEMO_CHECKPOINT, VisionSpec()).decoder
    visuals = [Model(DEMO_CHECKPOINT, VisionSpec()).visual(Scene("video", range(8), (64, 64)))]
    lora = noisy(LearntLora(decoder.model, LoraForm(r=2)))
    answers = ([20, 21, 22], [30])
    with lora.attached():
        prefix = decoder.prefill_with_gradients(visuals)
        rows = [(prefix.suffix(q), a) for q, a in zip(QUESTIONS, answers, strict=True)]
        loss = answer_loss(decoder.model, prefix, rows)
    loss.backward()
    shared = [one.grad.clone() for one in lora.parameters()]
    lora.zero_grad()
    total = torch.zeros(())
    for suffix, answer in rows:
        opened = prefix.opening
        ids = [*suffix, *answer]
        inputs = extended_inputs(decoder.model, opened.inputs, ids)
        with lora.attached():
            found = decoder.model(**inputs, logits_to_keep=len(answer) + 1).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(
            found, torch.tensor(answer), reduction="sum"
        )
    (total / 4).backward()
    assert torch.allclose(loss, total / 4, rtol=1e-5)
    assert max(float(one.abs().max()) for one in shared) > 1e-4
    for one, other in zip(shared, lora.parameters(), strict=True):
        assert torch.allclose(one, other.grad, rtol=1e-3, atol=1e-5)


def test_dropout_is_of_training_alone() -> None:
    model = llama()
    lora = noisy(LearntLora(model, LoraForm(r=3, dropout=0.5)))
    with lora.train().attached():
        assert not torch.equal(logits(model), logits(model))
    with lora.eval().attached():
        assert torch.equal(logits(model), logits(model))


def test_only_the_language_model_is_adapted() -> None:
    """Names like q_proj are the tower's too: the trap of training with peft by names' ends."""
    whole: Any = Model(DEMO_CHECKPOINT, VisionSpec()).reference.model
    found = language_linears(whole, ["q_proj", "v_proj"])
    assert len(found) == 10 and all("language_model.layers." in name for name in found)
    pattern = targets(found)
    assert isinstance(pattern, str)
    matched = [name for name, _ in whole.named_modules() if re.fullmatch(pattern, name)]
    assert matched == list(found)
    with pytest.raises(AdapterError, match=r"'fc1' is none of .* down_proj, gate_proj"):
        language_linears(whole, ["fc1"])


def test_uneven_layers_are_named_one_by_one() -> None:
    names = ["model.layers.0.a", "model.layers.1.a", "model.layers.1.b"]
    assert targets(names) == names
    assert targets(names[:2]) == r"model\.layers\.\d+\.(a)"


@pytest.mark.parametrize("case", ["nf4", "rtn"])
def test_gradients_pass_quantised_layers_that_have_a_backward(case: str) -> None:
    model = model_of(case)
    lora = noisy(LearntLora(model, LoraForm(r=2)))
    with lora.attached():
        model(input_ids=torch.arange(10, 20)[None]).logits.sum().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in lora.parameters())


def test_layers_without_a_backward_are_refused() -> None:
    with pytest.raises(AdapterError, match=r"gradients do not pass .*\(Int4Linear\)"):
        LearntLora(model_of("int4 kernel"), LoraForm())
