"""A VILA1.5 of its released shape with random weights, to measure on: no download.

Shapes: those of Efficient-Large-Model/VILA1.5-3b: Sheared-LLaMA 2.7B, SigLIP so400m at 384 pixels,
196 visual tokens an image.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

from encodeonce.models.random_llava import byte_tokenizer

_MERGED = 4
"""Patches that the projector makes one token of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VilaShape:
    """Sizes of a VILA1.5."""

    hidden_size: int = 2560
    intermediate_size: int = 6912
    num_layers: int = 32
    num_heads: int = 20
    vocab_size: int = 32000
    vision_hidden_size: int = 1152
    vision_intermediate_size: int = 4304
    vision_layers: int = 27
    vision_heads: int = 16
    image_size: int = 384
    patch_size: int = 14


VILA_1_5_3B = VilaShape()


def write_random_vila(folder: Path, shape: VilaShape, dtype: torch.dtype) -> Path:
    """Write a checkpoint in the original layout, with a tokenizer of bytes.

    It never ends an answer.
    """
    torch.manual_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=shape.vision_hidden_size,
        intermediate_size=shape.vision_intermediate_size,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.vision_heads,
        image_size=shape.image_size,
        patch_size=shape.patch_size,
    )
    tokenizer = byte_tokenizer()
    text = LlamaConfig(
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_heads,
        vocab_size=shape.vocab_size,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        tower, language = SiglipVisionModel(vision), LlamaForCausalLM(text)
    parts: dict[str, tuple[dict[str, torch.Size], dict[str, Any]]] = {
        "vision_tower": (_named(tower, "vision_model."), vision.to_dict()),
        "mm_projector": (_projector(shape), {"mm_projector_type": "mlp_downsample"}),
        "llm": (_named(language, ""), text.to_dict()),
    }
    for name, (shapes, config) in parts.items():
        _write(folder / name, shapes, config, dtype)
    tokenizer.save_pretrained(folder / "llm")
    top = {"model_type": "llava_llama", "image_aspect_ratio": "resize", "s2": False}
    (folder / "config.json").write_text(json.dumps(top), encoding="utf-8")
    return folder


def _named(model: nn.Module, prefix: str) -> dict[str, torch.Size]:
    return {
        name if name.startswith(prefix) else prefix + name: value.shape
        for name, value in model.state_dict().items()
    }


def _projector(shape: VilaShape) -> dict[str, torch.Size]:
    merged, width = _MERGED * shape.vision_hidden_size, shape.hidden_size
    return {
        "layers.1.weight": torch.Size([merged]),
        "layers.1.bias": torch.Size([merged]),
        "layers.2.weight": torch.Size([width, merged]),
        "layers.2.bias": torch.Size([width]),
        "layers.4.weight": torch.Size([width, width]),
        "layers.4.bias": torch.Size([width]),
    }


def _write(
    folder: Path, shapes: Mapping[str, torch.Size], config: Mapping[str, Any], dtype: torch.dtype
) -> None:
    folder.mkdir(parents=True)
    weights = {
        # A vector is a norm's weight or a bias: ones do for both.
        name: torch.ones(size, dtype=dtype)
        if len(size) == 1
        else torch.empty(size, dtype=dtype).normal_(std=0.02)
        for name, size in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
