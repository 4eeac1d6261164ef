"""Tiny Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""

import json
from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.tiny.parts import chat_template, text_shape, tiny_tokenizer, write

START, END, IMAGE, VIDEO = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VISION = {
    "num_heads": 4,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "depth": 2,
}
IMAGE_PIXELS = {"shortest_edge": 16 * 16, "longest_edge": 48 * 64}


def write_tiny_qwen2_vl(folder: Path) -> Path:
    vision = {**VISION, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
    pixels = {"shortest_edge": 8 * 8, "longest_edge": 24 * 24}
    return _write(folder, Qwen2VLConfig, Qwen2VLForConditionalGeneration, vision, {}, pixels)


def write_tiny_qwen2_5_vl(folder: Path) -> Path:
    vision = {
        **VISION,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": 64,
        "window_size": 16,
        "fullatt_block_indexes": [1],
        "tokens_per_second": 2,
    }
    pixels = {"shortest_edge": 8 * 8, "longest_edge": 24 * 24}
    return _write(folder, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, vision, {}, pixels)


def write_tiny_qwen3_vl(folder: Path) -> Path:
    vision = {
        **VISION,
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": 64,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    }
    text = {"head_dim": 16, "num_hidden_layers": 3}
    pixels = {"shortest_edge": 2 * 8 * 8, "longest_edge": 2 * 32 * 32}
    return _write(folder, Qwen3VLConfig, Qwen3VLForConditionalGeneration, vision, text, pixels)


def _write(
    folder: Path,
    config_class: Any,
    model_class: type[PreTrainedModel],
    vision: dict[str, Any],
    text: dict[str, Any],
    video_pixels: dict[str, int],
) -> Path:
    tokenizer = tiny_tokenizer({"image_token": IMAGE, "video_token": VIDEO}, (START, END))
    tokenizer.chat_template = chat_template(f"{START}{IMAGE}{END}", f"{START}{VIDEO}{END}")
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    config = config_class(
        vision_config=vision,
        text_config={**text_shape(tokenizer), "rope_parameters": rope, **text},
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        video_token_id=tokenizer.convert_tokens_to_ids(VIDEO),
        vision_start_token_id=tokenizer.convert_tokens_to_ids(START),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(END),
        tie_word_embeddings=False,
    )
    write(folder, model_class, config, tokenizer)
    Qwen2VLImageProcessorPil(
        size=IMAGE_PIXELS, patch_size=4, temporal_patch_size=2, merge_size=2
    ).save_pretrained(folder)
    settings = {"size": video_pixels, "patch_size": 4, "temporal_patch_size": 2, "merge_size": 2}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return folder
