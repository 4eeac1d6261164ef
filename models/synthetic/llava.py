"""A LLaVA of a given size with random weights, to measure on: no download, any shape."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from encodeonce.models.checkpoint.hub_names import rename_tower
from encodeonce.models.checkpoint.loading import without_bars
from encodeonce.models.synthetic.parts import Shape, byte_tokenizer, random_model

_IMAGE = "<image>"
# The system text's bytes are tokens: twenty of them precede the image.
_TEMPLATE = (
    "{{ bos_token }}A helpful system: {% for message in messages %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + _IMAGE + "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} A:{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlavaShape(Shape):
    """Sizes of a LLaVA."""

    num_key_value_heads: int
    vision_heads: int


TINY = LlavaShape(
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    num_heads=4,
    num_key_value_heads=2,
    vocab_size=300,
    vision_hidden_size=64,
    vision_layers=3,
    vision_heads=4,
    image_size=32,
    patch_size=8,
)
"""To try a measurement in seconds: 16 visual tokens."""

SMALL = LlavaShape(
    hidden_size=768,
    intermediate_size=2048,
    num_layers=12,
    num_heads=12,
    num_key_value_heads=12,
    vocab_size=8000,
    vision_hidden_size=768,
    vision_layers=12,
    vision_heads=12,
    image_size=512,
    patch_size=16,
)
"""97 M parameters of language model, 86 M of tower, 1,024 visual tokens."""

LLAVA_1_5_7B = LlavaShape(
    hidden_size=4096,
    intermediate_size=11008,
    num_layers=32,
    num_heads=32,
    num_key_value_heads=32,
    vocab_size=32064,
    vision_hidden_size=1024,
    vision_layers=24,
    vision_heads=16,
    image_size=336,
    patch_size=14,
)
"""The shape of LLaVA-1.5-7B: 576 visual tokens an image."""


def write_random_llava(
    shape: LlavaShape, folder: Path, dtype: torch.dtype, device: torch.device
) -> Path:
    """Write a checkpoint with random weights and a byte tokenizer. It never ends an answer.

    Args:
        shape: sizes of the model.
        folder: created if missing.
        dtype: of the weights.
        device: where the weights are drawn.
    """
    tokenizer = byte_tokenizer((), image_token=_IMAGE)
    config = config_of(shape, tokenizer.bos_token_id, tokenizer.pad_token_id)
    config.image_token_id = tokenizer.convert_tokens_to_ids(_IMAGE)
    model = random_model(LlavaForConditionalGeneration, config, dtype, device)
    model.generation_config.eos_token_id = None
    with without_bars():
        model.save_pretrained(folder)
    rename_tower(folder)
    size = shape.image_size
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        ),
        tokenizer=tokenizer,
        patch_size=shape.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def config_of(shape: LlavaShape, bos: int, pad: int) -> LlavaConfig:
    """Return transformers' configuration of a shape, with the tokenizer's token ids."""
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            **shape.vision(),
            intermediate_size=4 * shape.vision_hidden_size,
            num_attention_heads=shape.vision_heads,
        ),
        text_config=LlamaConfig(
            **shape.text(),
            num_key_value_heads=shape.num_key_value_heads,
            bos_token_id=bos,
            eos_token_id=None,
            pad_token_id=pad,
        ),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
