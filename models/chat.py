"""Prompts by the checkpoint's own chat template, media first."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor

from encodeonce.models.checkpoint import CheckpointError


def prompt_text(processor: Any, num_images: int, question: str) -> str:
    """Return the chat prompt with one image placeholder for each of ``num_images``.

    Media stand before the question, so that all questions on one video begin with the same tokens.
    """
    content = [*({"type": "image"} for _ in range(num_images)), {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    return str(processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def tokenize(processor: Any, text: str, device: torch.device) -> dict[str, torch.Tensor]:
    """Return ``input_ids`` and ``attention_mask`` of shape (1, N).

    A template that writes the begin-of-text token itself gets no second one.
    """
    bos = processor.tokenizer.bos_token
    has_bos = bos is not None and text.startswith(bos)
    encoded = processor.tokenizer(text, add_special_tokens=not has_bos, return_tensors="pt")
    return {name: encoded[name].to(device) for name in ("input_ids", "attention_mask")}


def load_processor(folder: Path) -> Any:
    """Load tokenizer and chat template; needs one in the checkpoint.

    Raises:
        CheckpointError: the checkpoint has no chat template.
    """
    processor = AutoProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    if processor.chat_template is None:
        raise CheckpointError(
            f"{folder} has no chat template (chat_template.jinja), so it is not known how the "
            "model wants to be asked. Put the template of its model card there."
        )
    return processor
