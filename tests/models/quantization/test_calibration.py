"""Calibration prompts with media go through the layers as through the model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from encodeonce.models.checkpoint.decoder_layers import decoder_layers
from encodeonce.models.quantization.making.calibration import advance, capture
from encodeonce.models.quantization.making.calibration_text import text_calibration
from encodeonce.models.quantization.registry import WeightsError
from encodeonce.models.spec import VisionSpec
from tests.contracts.family import Model, Scene
from tests.fixtures.tiny.gemma3 import write_tiny_gemma3
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen2_5_vl, write_tiny_qwen3_vl
from tests.fixtures.tiny.vila import write_tiny_vila
from tests.fixtures.tiny_models import write_tiny_llava

VIDEO = Scene("video", frames=(0, 2, 4, 5))
WRITERS = {
    "llava": write_tiny_llava,
    "vila": write_tiny_vila,
    "qwen2_5_vl": write_tiny_qwen2_5_vl,  # positions of three axes
    "qwen3_vl": write_tiny_qwen3_vl,  # features added between layers
    "gemma3": write_tiny_gemma3,  # masks that differ from layer to layer
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_prompt_goes_through_the_layers_as_through_the_model(name: str, tmp_path: Path) -> None:
    write: Callable[[Path], Path] = WRITERS[name]
    model = Model(write(tmp_path), VisionSpec(tap="projected"))
    decoder = model.decoder
    inputs = decoder.whole_prompt([model.visual(VIDEO)], "What is shown?", "a red car")
    with torch.inference_mode():
        expected = decoder.model(**inputs, use_cache=False).logits
    (prompt,) = capture(decoder.model, iter([inputs]))
    assert bool(prompt.added) == (name == "qwen3_vl")
    for number, layer in enumerate(decoder_layers(decoder.model)):
        advance(layer, number, [prompt])
    with torch.inference_mode():
        norm = decoder.model.get_decoder().norm
        found = decoder.model.get_output_embeddings()(norm(prompt.hidden))
    assert torch.allclose(found, expected, atol=1e-5)
    # The prompt ends in the question and the answer.
    token_ids = [0] * expected.shape[1]
    if "input_ids" in inputs:
        token_ids = inputs["input_ids"][0].tolist()
        assert decoder.tokenizer.decode(token_ids).endswith("a red car")
    assert len(token_ids) == expected.shape[1]


def test_text_is_cut_into_prompts_spread_over_it(tmp_path: Path) -> None:
    model = Model(write_tiny_llava(tmp_path), VisionSpec(tap="projected"))
    path = tmp_path / "text.txt"
    path.write_text("".join(chr(97 + n // 100) for n in range(1000)))  # a token a letter
    calibration = text_calibration(path, num_prompts=4, num_tokens=100)
    prompts = [prompt["input_ids"] for prompt in calibration.prompts(model.decoder)]
    texts = [model.decoder.tokenizer.decode(ids[0]) for ids in prompts]
    assert [text[0] for text in texts] == ["a", "c", "f", "h"]
    assert {ids.shape for ids in prompts} == {torch.Size([1, 100])}
    lines = tmp_path / "text.jsonl"
    lines.write_text("".join(json.dumps({"text": c * 400}) + "\n" for c in "xyz"))
    calibration = text_calibration(lines, num_prompts=8, num_tokens=400)
    assert len(list(calibration.prompts(model.decoder))) == 3
    with pytest.raises(WeightsError, match="less than one prompt of 5000"):
        list(text_calibration(path, 1, 5000).prompts(model.decoder))
    with pytest.raises(WeightsError, match="cannot read calibration text from .*No such file"):
        text_calibration(tmp_path / "absent.txt", 1, 8)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('["text"]', "line 2 has no text under 'text'"),
        ('{"text": 5}', "line 2 has no text under 'text'"),
        ("{}", "line 2 has no text under 'text'"),
        ("[" * 100_000, "line 2: brackets are nested more than 100 deep"),
        ('{"text": ', "line 2: it is not JSON"),
    ],
)
def test_a_line_that_is_no_text_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": "abc"}\n' + line + "\n")
    with pytest.raises(WeightsError, match=f"cannot read calibration text from .*{said}"):
        text_calibration(path, 1, 2)
