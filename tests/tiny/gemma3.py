"""A tiny Gemma 3, with the processor that transformers would load."""

from pathlib import Path

from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    SiglipVisionConfig,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from tests.tiny.parts import VISION_SHAPE, chat_template, text_shape, tiny_tokenizer, write


def write_tiny_gemma3(folder: Path) -> Path:
    tokenizer = tiny_tokenizer(
        {
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        }
    )
    tokenizer.chat_template = chat_template("<start_of_image>", "<video>")
    text = {**text_shape(tokenizer), "head_dim": 16, "sliding_window": 16}
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**VISION_SHAPE, vision_use_head=False),
        text_config=Gemma3TextConfig(**text, layer_types=["sliding_attention", "full_attention"]),
        mm_tokens_per_image=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
    )
    write(folder, Gemma3ForConditionalGeneration, config, tokenizer)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(
            size={"height": 32, "width": 32}, do_pan_and_scan=False
        ),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=4,
    ).save_pretrained(folder)
    return folder
