"""A LongVA of a given size with random weights, in the layout of the original checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM

from encodeonce.models.synthetic.parts import Shape, byte_tokenizer, random_model, write_part


@dataclass(frozen=True, slots=True, kw_only=True)
class LongVAShape(Shape):
    """Sizes of a LongVA."""

    num_key_value_heads: int
    vision_hidden_size: int
    """A multiple of 64, the width of a head."""


TINY = LongVAShape(
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    num_heads=4,
    num_key_value_heads=2,
    vocab_size=300,
    vision_hidden_size=64,
    vision_layers=3,
    image_size=32,
    patch_size=8,
)
"""To try a measurement in seconds: 4 visual tokens a frame."""

LONGVA_7B = LongVAShape(
    hidden_size=3584,
    intermediate_size=18944,
    num_layers=28,
    num_heads=28,
    num_key_value_heads=4,
    vocab_size=152_064,
    vision_hidden_size=1024,
    vision_layers=24,
    image_size=336,
    patch_size=14,
)
"""The shape of LongVA-7B: CLIP-L/336, Qwen2-7B, 144 visual tokens a frame."""


def write_random_longva(
    shape: LongVAShape, folder: Path, dtype: torch.dtype, device: torch.device
) -> Path:
    """Write a checkpoint with random weights and a byte tokenizer. It never ends an answer.

    Args:
        shape: sizes of the model.
        folder: created if missing.
        dtype: of the weights.
        device: where the weights are drawn.
    """
    tokenizer = byte_tokenizer(("<|im_start|>", "<|im_end|>"))
    tokenizer.save_pretrained(folder)
    text, tower = configs_of(shape, tokenizer.bos_token_id, tokenizer.pad_token_id)
    weights: dict[str, torch.Tensor] = {
        **random_model(Qwen2ForCausalLM, text, dtype, device).state_dict(),
        **_named_as_in_the_original(random_model(CLIPVisionModel, tower, dtype, device)),
        **_projector(shape, dtype, device),
    }
    config = {
        **text.to_dict(),
        "model_type": "llava_qwen",
        "architectures": ["LlavaQwenForCausalLM"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_patch_merge_type": "unires",
        "image_aspect_ratio": "anyres",
        "image_grid_pinpoints": "(1x1),...,(6x6)",
    }
    write_part(folder, weights, config)
    return folder


def configs_of(shape: LongVAShape, bos: int, pad: int) -> tuple[Qwen2Config, CLIPVisionConfig]:
    """Return transformers' configurations of both parts, with the tokenizer's token ids."""
    text = Qwen2Config(
        **shape.text(),
        num_key_value_heads=shape.num_key_value_heads,
        max_position_embeddings=224_000,
        rope_parameters={"rope_type": "default", "rope_theta": 1e9},
        tie_word_embeddings=False,
        bos_token_id=bos,
        eos_token_id=None,
        pad_token_id=pad,
    )
    tower = CLIPVisionConfig(
        **shape.vision(),
        intermediate_size=4 * shape.vision_hidden_size,
        num_attention_heads=shape.vision_hidden_size // 64,
    )
    return text, tower


def _named_as_in_the_original(tower: nn.Module) -> dict[str, torch.Tensor]:
    # There, vision_model precedes every part's name, whatever transformers does.
    return {
        f"model.vision_tower.vision_tower.vision_model.{name.removeprefix('vision_model.')}": value
        for name, value in tower.state_dict().items()
        if value.is_floating_point()
    }


def _projector(
    shape: LongVAShape, dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    layers: Any = nn.Sequential(
        nn.Linear(shape.vision_hidden_size, shape.hidden_size, device=device, dtype=dtype),
        nn.GELU(),
        nn.Linear(shape.hidden_size, shape.hidden_size, device=device, dtype=dtype),
    )
    return {f"model.mm_projector.{name}": value for name, value in layers.state_dict().items()}
