"""A tiny LLaVA-OneVision."""

from pathlib import Path

from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from tests.tiny.parts import VISION_SHAPE, chat_template, text_shape, tiny_tokenizer, write

PINPOINTS = [[32, 32], [32, 64], [64, 32], [64, 64]]


def write_tiny_llava_onevision(folder: Path) -> Path:
    tokenizer = tiny_tokenizer({"image_token": "<image>", "video_token": "<video>"})
    tokenizer.chat_template = chat_template("<image>", "<video>")
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION_SHAPE),
        text_config=Qwen2Config(**text_shape(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    write(folder, LlavaOnevisionForConditionalGeneration, config, tokenizer)
    LlavaOnevisionImageProcessorPil(
        size={"height": 32, "width": 32}, image_grid_pinpoints=PINPOINTS
    ).save_pretrained(folder)
    return folder
