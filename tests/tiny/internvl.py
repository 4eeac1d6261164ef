"""A tiny InternVL."""

from pathlib import Path

from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    Qwen2Config,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from tests.tiny.parts import VISION_SHAPE, chat_template, text_shape, tiny_tokenizer, write


def write_tiny_internvl(folder: Path) -> Path:
    tokenizer = tiny_tokenizer(
        {
            "context_image_token": "<IMG_CONTEXT>",
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "video_token": "<video>",
        }
    )
    tokenizer.chat_template = chat_template("<IMG_CONTEXT>", "<video>")
    vision = {**VISION_SHAPE, "image_size": [32, 32], "patch_size": [8, 8]}
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(**vision),
        text_config=Qwen2Config(**text_shape(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    write(folder, InternVLForConditionalGeneration, config, tokenizer)
    GotOcr2ImageProcessorPil(
        size={"height": 32, "width": 32}, min_patches=1, max_patches=4
    ).save_pretrained(folder)
    return folder
