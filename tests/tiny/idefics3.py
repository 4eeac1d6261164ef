"""Tiny Idefics3 and SmolVLM."""

from pathlib import Path
from typing import Any

from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlamaConfig,
    PreTrainedModel,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from tests.tiny.parts import VISION_SHAPE, chat_template, text_shape, tiny_tokenizer, write


def write_tiny_idefics3(folder: Path) -> Path:
    processor = Idefics3ImageProcessorPil
    return _write(folder, Idefics3Config, Idefics3ForConditionalGeneration, processor)


def write_tiny_smolvlm(folder: Path) -> Path:
    processor = SmolVLMImageProcessorPil
    return _write(folder, SmolVLMConfig, SmolVLMForConditionalGeneration, processor)


def _write(
    folder: Path, config_class: Any, model_class: type[PreTrainedModel], processor_class: Any
) -> Path:
    others = ("<fake_token_around_image>", "<global-img>")
    tokenizer = tiny_tokenizer({"image_token": "<image>"}, others)
    tokenizer.chat_template = chat_template("<image>", "<video>")
    config = config_class(
        vision_config=dict(VISION_SHAPE),
        text_config=LlamaConfig(**text_shape(tokenizer)).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    write(folder, model_class, config, tokenizer)
    processor_class(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    ).save_pretrained(folder)
    return folder
