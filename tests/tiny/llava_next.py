"""A tiny LLaVA-NeXT, with the processor that transformers would load."""

from pathlib import Path

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
)
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from tests.tiny.parts import VISION_SHAPE, chat_template, text_shape, tiny_tokenizer, write

PINPOINTS = [[32, 64], [64, 32], [64, 64]]


def write_tiny_llava_next(folder: Path) -> Path:
    tokenizer = tiny_tokenizer({"image_token": "<image>"})
    tokenizer.chat_template = chat_template("<image>", "<video>")
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION_SHAPE),
        text_config=LlamaConfig(**text_shape(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-2,
    )
    write(folder, LlavaNextForConditionalGeneration, config, tokenizer)
    LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 32},
            crop_size={"height": 32, "width": 32},
            image_grid_pinpoints=PINPOINTS,
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)
    return folder
