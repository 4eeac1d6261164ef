"""Linear heads: what they say, what gradients reach, what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.adapters.form import HeadForm, LoraForm
from encodeonce.models.adapters.heads import Head, LearntHead, read_head, write_head
from encodeonce.models.adapters.learning import LearntLora, head_loss
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.adapters.writing import write_adapter
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.likelihood import extended_inputs
from encodeonce.models.spec import VisionSpec
from tests.contracts.family import Model, Scene
from tests.models.adapters.test_bank import llama, logits
from tests.models.adapters.test_learning import noisy

FORM = HeadForm(classes=("red", "green", "blue"))
QUESTIONS = ["Which digit is shown?", "How many?"]


def test_logits_are_the_classes_only_while_it_is_attached() -> None:
    model = llama()
    plain = logits(model)
    hidden = model.model(input_ids=torch.arange(1, 31).reshape(5, 6)).last_hidden_state
    head = LearntHead(model, FORM).head()
    with head.attached(model):
        assert torch.allclose(logits(model), hidden @ head.weight.T, atol=1e-6)
    assert torch.equal(logits(model), plain)


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_head(tmp_path) is None
    head = LearntHead(llama(), FORM).head()
    write_head(tmp_path, head)
    found = read_head(tmp_path)
    assert found is not None and found.classes == FORM.classes
    assert torch.equal(found.weight, head.weight)
    other = LearntHead(llama(), HeadForm(classes=("red", "blue")))
    with pytest.raises(AdapterError, match=r"one of red, green, blue; head.classes are red, blue"):
        other.load(found)
    (tmp_path / "head.json").write_text('{"classes": ["a", "b"]}')
    with pytest.raises(AdapterError, match=r"must hold 2 rows .* \(3, 32\)"):
        read_head(tmp_path)


@pytest.fixture(scope="module")
def decoder() -> Any:
    return Model(DEMO_CHECKPOINT, VisionSpec()).decoder


@pytest.fixture(scope="module")
def visuals() -> Any:
    return [Model(DEMO_CHECKPOINT, VisionSpec()).visual(Scene("video", range(8), (64, 64)))]


def test_classes_are_likely_as_one_plain_pass_says(
    decoder: Any, visuals: Any, tmp_path: Path
) -> None:
    """Over the full cache, and over one that keeps everything; with the adapter beside it."""
    lora, head = noisy(LearntLora(decoder.model, LoraForm(r=2))), LearntHead(decoder.model, FORM)
    with torch.no_grad():
        head.weight *= 20
    write_adapter(tmp_path, lora.products(), lora.form, "demo")
    write_head(tmp_path, head.head())
    decoder.load_adapters([AdapterSpec(path=str(tmp_path), label="a")])
    try:
        settings = [FULL, KVSpec(method="streaming_llm", keep=1.0, scope="media")]
        settings.append(KVSpec(method="random", keep=0.1, scope="media"))
        prefix = decoder.prefill(visuals, settings, adapter=0)
        full, kept, dropped = decoder.classify(prefix, QUESTIONS, settings)
        with pytest.raises(AdapterError, match="trained with a head"):
            decoder.classify(decoder.prefill(visuals), QUESTIONS)
        with torch.inference_mode(), decoder.adapters.using(0):
            inputs = [
                extended_inputs(decoder.model, prefix.opening.inputs, prefix.suffix(question))
                for question in QUESTIONS
            ]
            body = [decoder.model.model(**one).last_hidden_state[0, -1] for one in inputs]
    finally:
        decoder.drop_adapters()
    weight = head.weight.detach()
    for hidden, one, same, other in zip(body, full, kept, dropped, strict=True):
        expected = (weight @ hidden).log_softmax(-1).tolist()
        assert one.log_probs == pytest.approx(expected, abs=1e-4)
        assert same.log_probs == pytest.approx(expected, abs=1e-4)
        assert max(abs(a - b) for a, b in zip(other.log_probs, expected, strict=True)) > 1e-3
        assert one.classes == FORM.classes


def test_gradients_reach_the_head_and_the_adapter(decoder: Any, visuals: Any) -> None:
    lora, head = noisy(LearntLora(decoder.model, LoraForm(r=2))), LearntHead(decoder.model, FORM)
    with lora.attached():
        prefix = decoder.prefill_with_gradients(visuals)
        rows = [(prefix.suffix(question), n) for n, question in enumerate(QUESTIONS)]
        head_loss(decoder.model, prefix, head.head(), rows).backward()
    for one in (head.weight, *lora.parameters()):
        assert one.grad is not None and one.grad.abs().sum() > 0


@pytest.mark.parametrize("classes", [["a"], ["a", "a"], ["a", " "]])
def test_classes_are_several_and_different(classes: list[str]) -> None:
    with pytest.raises(ValueError, match="classes|is there twice|empty"):
        HeadForm.model_validate({"classes": classes})


def test_a_head_of_another_model_is_no_head(tmp_path: Path) -> None:
    write_head(tmp_path, Head(classes=FORM.classes, weight=torch.full((3, 4), torch.nan)))
    with pytest.raises(AdapterError, match="finite numbers"):
        read_head(tmp_path)
