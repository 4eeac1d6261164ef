"""A tiny VILA1.5 in the layout of the original checkpoint: three folders."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from tests.tiny.longva import random_weights
from tests.tiny.parts import text_shape, tiny_tokenizer

# Five patches a side: an odd number, like the 27 of the real tower, is padded.
SIGLIP = SiglipVisionConfig(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=2,
    image_size=40,
    patch_size=8,
)


def write_tiny_vila(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer({})
    text = LlamaConfig(**text_shape(tokenizer), tie_word_embeddings=False)
    projector = {
        "layers.1.weight": torch.randn(128) * 0.1 + 1,
        "layers.1.bias": torch.randn(128) * 0.1,
        "layers.2.weight": torch.randn(64, 128) * 0.08,
        "layers.2.bias": torch.randn(64) * 0.08,
        "layers.4.weight": torch.randn(64, 64) * 0.08,
        "layers.4.bias": torch.randn(64) * 0.08,
    }
    config = {"image_aspect_ratio": "resize", "mm_vision_select_layer": -2, "s2": False}
    kind = "mlp_downsample"
    return write_parts(folder, config, kind, projector, LlamaForCausalLM(text), tokenizer)


def write_parts(
    folder: Path,
    config: dict[str, Any],
    projector_type: str,
    projector: dict[str, torch.Tensor],
    llm: PreTrainedModel,
    tokenizer: Any,
) -> Path:
    """Write the three folders, with a SigLIP of random weights."""
    siglip = {
        name if name.startswith("vision_model.") else f"vision_model.{name}": value
        for name, value in random_weights(SiglipVisionModel(SIGLIP)).items()
    }
    parts = {
        "vision_tower": (siglip, SIGLIP.to_dict()),
        "mm_projector": (projector, {"mm_projector_type": projector_type}),
        "llm": (random_weights(llm), llm.config.to_dict()),
    }
    for name, (weights, settings) in parts.items():
        (folder / name).mkdir()
        save_file(weights, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(settings))
    tokenizer.save_pretrained(folder / "llm")
    (folder / "config.json").write_text(json.dumps({"model_type": "llava_llama", **config}))
    return folder
