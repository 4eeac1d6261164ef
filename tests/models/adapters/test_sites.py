"""Which module a name in an adapter means: by role, whatever the base model called its parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.sites import Sites
from tests.models.adapters.made import factors, read, write

WIDTH = 16


@pytest.fixture(scope="module")
def llava() -> Any:
    """A LLaVA whose tower has layers.N.self_attn.q_proj of the decoder's own shape."""
    text = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=32,
    )
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text)).eval()


def found(
    folder: Path, sites: Sites, path: str, shape: tuple[int, int] = (WIDTH, WIDTH)
) -> tuple[str, nn.Module]:
    """Return the name and the module that a path in an adapter means."""
    adapter = read(write(folder, factors({path: shape})))
    ((name, (module, _)),) = sites.find(adapter).items()
    return name, module


@pytest.mark.parametrize(
    "before",
    [
        "language_model.model.",  # transformers 4
        "model.language_model.",  # transformers 5
        "model.text_model.",  # Idefics3
        "model.",  # a plain language model
        "llm.model.",  # MiniCPM-V, VILA
        "",
    ],
)
def test_the_language_models_layers_under_their_many_names(
    tmp_path: Path, llava: Any, before: str
) -> None:
    path = f"{before}layers.1.self_attn.q_proj"
    name, module = found(tmp_path, Sites(llava), path)
    assert name == "layers.1.self_attn.q_proj"
    assert module is llava.model.language_model.layers[1].self_attn.q_proj


@pytest.mark.parametrize("path", ["lm_head", "language_model.lm_head", "model.lm_head"])
def test_the_head(tmp_path: Path, llava: Any, path: str) -> None:
    assert found(tmp_path, Sites(llava), path, (WIDTH, 32)) == ("lm_head", llava.lm_head)


@pytest.mark.parametrize("key", ["lm_head.base_layer.weight", "model.embed_tokens.weight"])
def test_a_copy_of_the_models_own_weights_has_to_be_one(
    tmp_path: Path, llava: Any, key: str
) -> None:
    weight = (llava.lm_head if "head" in key else llava.get_input_embeddings()).weight.detach()
    both = factors({"lm_head": (WIDTH, 32)})
    write(tmp_path, {**both, f"base_model.model.{key}": weight.clone()})
    assert list(Sites(llava).find(read(tmp_path))) == ["lm_head"]
    for other in (weight + 0.1, weight[:-1]):
        write(tmp_path, {**both, f"base_model.model.{key}": other.contiguous()})
        with pytest.raises(AdapterError, match="it was trained, or is of another model"):
            Sites(llava).find(read(tmp_path))


@pytest.mark.parametrize(
    "path",
    [
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj",
        "model.vision_tower.encoder.layers.1.self_attn.q_proj",
        "model.vision_model.encoder.layers.0.self_attn.q_proj",
        "visual.blocks.0.attn.qkv",
        "model.visual.merger.mlp.0",
        "vpm.encoder.layers.0.self_attn.q_proj",
        "model.vision_tower.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj",
    ],
)
def test_the_towers_layers_are_not_the_decoders(tmp_path: Path, llava: Any, path: str) -> None:
    decoder = "model.language_model.layers.0.self_attn.q_proj"
    write(tmp_path, factors({decoder: (WIDTH, WIDTH), path: (WIDTH, WIDTH)}))
    with pytest.raises(AdapterError, match="1 modules of the vision tower") as refused:
        Sites(llava).find(read(tmp_path))
    assert path in str(refused.value) and "exclude_modules" in str(refused.value)
    assert f"encodeonce merge adapter {tmp_path} OUTPUT --model" in str(refused.value)


@pytest.mark.parametrize(
    "path", ["multi_modal_projector.linear_1", "model.multi_modal_projector.linear_1"]
)
def test_the_projector_where_features_are_the_towers(tmp_path: Path, llava: Any, path: str) -> None:
    projector = llava.model.multi_modal_projector
    name, module = found(tmp_path / "one", Sites(llava, projector), path)
    assert (name, module) == ("projector.linear_1", projector.linear_1)
    with pytest.raises(AdapterError, match="modules of the projector, first"):
        found(tmp_path / "two", Sites(llava), path)


def test_an_assembled_projector_holds_the_originals_one_level_down(
    tmp_path: Path, llava: Any
) -> None:
    assembled = nn.Module()
    assembled.layers = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
    sites = Sites(llava, assembled)
    assert found(tmp_path, sites, "model.mm_projector.2")[1] is assembled.layers[2]


@pytest.mark.parametrize(
    ("path", "shape", "words"),
    [
        ("model.layers.2.self_attn.q_proj", (WIDTH, WIDTH), "it has 2 layers with layers.0."),
        ("model.layers.0.self_attn.qkv_proj", (WIDTH, WIDTH), "layers.0.self_attn.q_proj"),
        ("other.layers.0.self_attn.q_proj", (WIDTH, WIDTH), "which the model does not have"),
        ("transformer.h.0.attn.c_attn", (WIDTH, 48), "original Qwen-VL"),
        ("model.layers.0.self_attn", (WIDTH, WIDTH), "linear layers are handled"),
        ("model.layers.0.self_attn.q_proj", (WIDTH, 8), "has 16 inputs and 16 outputs"),
        ("model.layers.0.self_attn.q_proj", (8, WIDTH), "8 and 16 in the adapter"),
        ("model.multi_modal_projector.linear_9", (WIDTH, WIDTH), "does not have"),
        ("model.multi_modal_projector", (WIDTH, WIDTH), "does not have"),
        ("model.embed_tokens", (32, WIDTH), "does not have"),
    ],
)
def test_what_the_model_does_not_have(
    tmp_path: Path, llava: Any, path: str, shape: tuple[int, int], words: str
) -> None:
    with pytest.raises(AdapterError, match=path.replace(".", r"\.")) as refused:
        found(tmp_path, Sites(llava, llava.model.multi_modal_projector), path, shape)
    assert words in str(refused.value)


def test_one_module_under_two_names(tmp_path: Path, llava: Any) -> None:
    paths: Sequence[str] = (
        "model.layers.0.self_attn.q_proj",
        "model.language_model.layers.0.self_attn.q_proj",
    )
    write(tmp_path, factors(dict.fromkeys(paths, (WIDTH, WIDTH))))
    with pytest.raises(AdapterError, match="twice"):
        Sites(llava).find(read(tmp_path))


def test_a_plain_language_model(tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=32,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    path = "model.layers.0.mlp.up_proj"
    assert found(tmp_path, Sites(model), path, (WIDTH, 24))[1] is model.model.layers[0].mlp.up_proj
