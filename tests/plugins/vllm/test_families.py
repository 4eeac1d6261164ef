"""Every architecture for which vLLM takes embeddings, with a tiny random checkpoint of each."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.answer import Generation, largest_difference
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.engine_spec import EngineSpec
from encodeonce.models.language.adapting import BASE
from encodeonce.models.spec import NONE, GenerationSpec, VisionSpec
from tests.asking import answered
from tests.contracts.family import IMAGE, QUESTIONS, SHORT_CLIP, WIDE, Model, Scene, spec
from tests.fixtures.tiny.gemma3 import write_tiny_gemma3
from tests.fixtures.tiny.idefics3 import write_tiny_idefics3, write_tiny_smolvlm
from tests.fixtures.tiny.internvl import write_tiny_internvl
from tests.fixtures.tiny.llava_next import write_tiny_llava_next
from tests.fixtures.tiny.llava_onevision import write_tiny_llava_onevision
from tests.fixtures.tiny.longva import write_tiny_longva
from tests.fixtures.tiny.qwen_vl import (
    write_tiny_qwen2_5_vl,
    write_tiny_qwen2_vl,
    write_tiny_qwen3_vl,
)
from tests.fixtures.tiny_models import write_tiny_llava
from tests.models.adapters.made import factors, widths_of, write
from tests.plugins.vllm.vllm_here import TIMEOUT_S, needs_vllm

pytestmark = [
    pytest.mark.slow,
    needs_vllm,
    pytest.mark.timeout(TIMEOUT_S),
    pytest.mark.filterwarnings("default"),  # vLLM's own are not ours to mend
]
ENGINE = EngineSpec(name="vllm", kv_cache_gib=0.1)
SHORT = GenerationSpec(max_new_tokens=6)
WRITERS = {
    "llava": write_tiny_llava,
    "llava_next": write_tiny_llava_next,
    "llava_onevision": write_tiny_llava_onevision,
    "internvl": write_tiny_internvl,
    "idefics3": write_tiny_idefics3,
    "smolvlm": write_tiny_smolvlm,
    "qwen2_vl": write_tiny_qwen2_vl,
    "qwen2_5_vl": write_tiny_qwen2_5_vl,
    "qwen3_vl": write_tiny_qwen3_vl,
}
PROCESSORS = {
    "llava_onevision": {
        "processor_class": "LlavaOnevisionProcessor",
        "num_image_tokens": 16,
        "vision_feature_select_strategy": "full",
    },
    "internvl": {"processor_class": "InternVLProcessor", "image_seq_length": 4},
    "idefics3": {"processor_class": "Idefics3Processor", "image_seq_len": 4},
    "smolvlm": {"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
}
"""What processors are made with, where the tiny checkpoints leave it out."""
FROM_PIXELS = ("idefics3", "smolvlm")
"""Whose features transformers 5.19, which vLLM asks for, does not take yet."""
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj"), ("up_proj", "down_proj")
TOLERANCE = 2e-3
"""Of the first token's logits, float32."""


def widened(folder: Path) -> Path:
    """Give a tiny checkpoint heads of 32, the narrowest that vLLM's kernels for CPUs have.

    Also what its processor needs beside the image processor: vLLM makes one when it starts.
    """
    config = AutoConfig.from_pretrained(folder)
    text = config.get_text_config()
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = 2, 1, 32
    if sections := text.rope_parameters.get("mrope_section"):
        text.rope_parameters["mrope_section"] = [2 * width for width in sections]
    model = AutoModelForImageTextToText.from_config(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 or not parameter.any():
                parameter.copy_(torch.randn(parameter.shape) * 0.08)
    model.save_pretrained(folder)
    if more := PROCESSORS.get(config.model_type):
        (folder / "processor_config.json").write_text(json.dumps(more))
    return folder


@contextmanager
def loaded(model: Model, adapters: tuple[AdapterSpec, ...] = ()) -> Iterator[Any]:
    from encodeonce.models.vllm.loading import load_vllm

    source = (model.family, model.folder, spec(model.folder), model.vision_spec, NONE)
    decoder = load_vllm(*source, adapters, ENGINE, SHORT.max_batch)
    try:
        yield decoder
    finally:
        decoder.close()


def differences(ours: list[Generation], theirs: list[Generation]) -> list[float]:
    pairs = zip(ours, theirs, strict=True)
    return [largest_difference(one.first_logits, other.first_logits) for one, other in pairs]


@pytest.mark.parametrize("name", WRITERS)
def test_answers_from_vllm_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    model = Model(widened(WRITERS[name](tmp_path / name)), VisionSpec(tap="projected"))
    shown: list[list[Scene]] = [[IMAGE], [SHORT_CLIP], [WIDE, SHORT_CLIP], []]
    with loaded(model) as decoder:
        for scenes in shown:
            visuals = [model.visual(scene) for scene in scenes]
            if name in FROM_PIXELS:
                frames = model.decoded(*scenes)
                ours = [model.reference.answer(frames, one, SHORT) for one in QUESTIONS]
            else:
                ours = answered(model.decoder, visuals, QUESTIONS, SHORT)
            theirs = answered(decoder, visuals, QUESTIONS, SHORT)
            assert [one.num_prompt_tokens for one in ours] == [
                one.num_prompt_tokens for one in theirs
            ]
            assert max(differences(ours, theirs)) < TOLERANCE, f"{name}, {scenes}"
            same = [
                one.token_ids == other.token_ids for one, other in zip(ours, theirs, strict=True)
            ]
            assert sum(same) >= len(same) - 1


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (write_tiny_gemma3, "'gemma3': vLLM's class for it refuses embeddings"),
        (write_tiny_longva, "vLLM does not load this architecture"),
    ],
)
def test_others_are_refused_by_name(make: Callable[[Path], Path], why: str, tmp_path: Path) -> None:
    from encodeonce.models.vllm.loading import EngineError, check_vllm

    model = Model(make(tmp_path / "model"), VisionSpec(tap="projected"))
    with pytest.raises(EngineError, match=why):
        check_vllm(model.family, model.folder, spec(model.folder), NONE)


def test_vllm_says_itself_that_gemma_3_takes_no_embeddings() -> None:
    from vllm.model_executor.models.gemma3_mm import Gemma3ForConditionalGeneration

    with pytest.raises(AssertionError, match="does not support image_embeds"):
        Gemma3ForConditionalGeneration._parse_and_validate_image_input(
            None, pixel_values=None, image_embeds=torch.zeros(4, 8)
        )


def test_adapters_answer_as_ours_do(tmp_path: Path) -> None:
    model = Model(DEMO_CHECKPOINT, VisionSpec())
    attention = widths_of(model.decoder.model, ATTENTION, "language_model.model.")
    mlps = widths_of(model.decoder.model, MLP, "language_model.model.")
    one = write(
        tmp_path / "one", factors(attention, 8, size=0.08), r=8, target_modules=list(ATTENTION)
    )
    two = write(
        tmp_path / "two", factors(mlps, 4, seed=2, size=0.08), r=4, target_modules=list(MLP)
    )
    specs = (AdapterSpec(path=str(one)), AdapterSpec(path=str(two)))
    model.decoder.load_adapters(specs)
    visuals = [model.visual(Scene("video", range(8), (96, 96), seed=5))]
    with loaded(model, specs) as decoder:
        assert decoder.adapters.number("two") == 1
        engines = [one.engine(SHORT) for one in (model.decoder, decoder)]
        for engine, one in zip(engines, (model.decoder, decoder), strict=True):
            for number in (BASE, 0, 1):
                prefix = one.prefill(visuals, adapter=number)
                engine.ask(number, prefix, QUESTIONS, (number + 1) * len(QUESTIONS))
        ours, theirs = (engine.finish() for engine in engines)
    for number in (BASE, 0, 1):
        assert max(differences(ours[number][0], theirs[number][0])) < 10 * TOLERANCE, number
    assert min(differences(theirs[0][0], theirs[1][0])) > 100 * TOLERANCE


def test_an_adapter_of_the_projector_is_refused(tmp_path: Path) -> None:
    model = Model(DEMO_CHECKPOINT, VisionSpec())
    widths = {"multi_modal_projector.linear_2": (256, 256)}
    folder = write(tmp_path / "projector", factors(widths, 4), r=4)
    with (
        pytest.raises(ValueError, match="adapts multi_modal_projector"),
        loaded(model, (AdapterSpec(path=str(folder)),)),
    ):
        pass
