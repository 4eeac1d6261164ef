"""A VILA1.5 of a given size with random weights, in the layout of the original checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

from encodeonce.models.synthetic.parts import (
    Shape,
    byte_tokenizer,
    random_model,
    write_config,
    write_part,
)

_MERGED = 4
"""Patches that the projector turns into one token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VilaShape(Shape):
    """Sizes of a VILA1.5."""

    vision_intermediate_size: int
    vision_heads: int


TINY = VilaShape(
    hidden_size=64,
    intermediate_size=128,
    num_layers=2,
    num_heads=4,
    vocab_size=300,
    vision_hidden_size=32,
    vision_intermediate_size=64,
    vision_layers=2,
    vision_heads=2,
    image_size=40,
    patch_size=8,
)
"""To try a measurement in seconds: 9 visual tokens."""

VILA_1_5_3B = VilaShape(
    hidden_size=2560,
    intermediate_size=6912,
    num_layers=32,
    num_heads=20,
    vocab_size=32_000,
    vision_hidden_size=1152,
    vision_intermediate_size=4304,
    vision_layers=27,
    vision_heads=16,
    image_size=384,
    patch_size=14,
)
"""The shape of VILA1.5-3b: Sheared-LLaMA 2.7B, SigLIP so400m, 196 visual tokens an image."""


def write_random_vila(
    shape: VilaShape, folder: Path, dtype: torch.dtype, device: torch.device
) -> Path:
    """Write a checkpoint with random weights and a byte tokenizer. It never ends an answer.

    Args:
        shape: sizes of the model.
        folder: created if missing.
        dtype: of the weights.
        device: where the weights are drawn.
    """
    tokenizer = byte_tokenizer(())
    text, tower = configs_of(shape, tokenizer.bos_token_id, tokenizer.pad_token_id)
    llm = random_model(LlamaForCausalLM, text, dtype, device)
    write_part(folder / "llm", llm.state_dict(), text.to_dict())
    siglip = random_model(SiglipVisionModel, tower, dtype, device)
    write_part(folder / "vision_tower", _named_as_in_the_original(siglip), tower.to_dict())
    projector = {"mm_projector_type": "mlp_downsample"}
    write_part(folder / "mm_projector", _projector(shape, dtype, device), projector)
    tokenizer.save_pretrained(folder / "llm")
    config = {"model_type": "llava_llama", "image_aspect_ratio": "resize", "s2": False}
    write_config(folder, config)
    return folder


def configs_of(shape: VilaShape, bos: int, pad: int) -> tuple[LlamaConfig, SiglipVisionConfig]:
    """Return transformers' configurations of both parts, with the tokenizer's token ids."""
    text = LlamaConfig(
        **shape.text(),
        num_key_value_heads=shape.num_heads,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=bos,
        eos_token_id=None,
        pad_token_id=pad,
    )
    tower = SiglipVisionConfig(
        **shape.vision(),
        intermediate_size=shape.vision_intermediate_size,
        num_attention_heads=shape.vision_heads,
    )
    return text, tower


def _named_as_in_the_original(tower: nn.Module) -> dict[str, torch.Tensor]:
    """Return a tower's weights under ``vision_model``, as transformers had them until 5."""
    return {
        name if name.startswith("vision_model.") else f"vision_model.{name}": value
        for name, value in tower.state_dict().items()
    }


def _projector(
    shape: VilaShape, dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    merged, width = _MERGED * shape.vision_hidden_size, shape.hidden_size
    with device:
        layers = nn.Sequential(
            nn.Identity(),
            nn.LayerNorm(merged),
            nn.Linear(merged, width),
            nn.GELU(),
            nn.Linear(width, width),
        )
    return {f"layers.{name}": value.to(dtype) for name, value in layers.state_dict().items()}
