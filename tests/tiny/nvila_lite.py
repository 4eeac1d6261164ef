"""A tiny NVILA-Lite in the layout of the original checkpoint: VILA1.5's three folders."""

from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.tiny.parts import text_shape, tiny_tokenizer
from tests.tiny.vila import write_parts


def write_tiny_nvila_lite(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer({}, ("<|im_start|>", "<|im_end|>"))
    text = Qwen2Config(**text_shape(tokenizer), tie_word_embeddings=False)
    projector = {}
    for number, shape in {
        "1": (288,),
        "2": (96, 288),
        "4": (96,),
        "5": (64, 96),
        "7": (64, 64),
    }.items():
        is_norm = len(shape) == 1
        projector[f"layers.{number}.weight"] = torch.randn(shape) * 0.08 + is_norm
        projector[f"layers.{number}.bias"] = torch.randn(shape[0]) * 0.08
    config = {
        "image_aspect_ratio": "dynamic",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "cls_patch",
        "min_tiles": 1,
        "max_tiles": 4,
        "video_max_tiles": 1,
        "chat_template": "qwen2",
    }
    kind = "mlp_downsample_3x3_fix"
    return write_parts(folder, config, kind, projector, Qwen2ForCausalLM(text), tokenizer)
