"""Calibration prompts cut from a text file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from encodeonce.models.quantization.calibration import Inputs
from encodeonce.models.quantizer import WeightsError


def text_prompts(
    path: Path, tokenizer: Any, device: torch.device, num_prompts: int, num_tokens: int
) -> Iterator[Inputs]:
    """Yield prompts (1, N) of consecutive tokens, at most ``num_prompts``.

    Args:
        path: a text file, or JSON lines with the text under ``text``.
        tokenizer: the model's.
        device: where the model is.
        num_prompts: at most so many.
        num_tokens: of each prompt.

    Raises:
        WeightsError: the file cannot be read, or is too short for one prompt.
    """
    token_ids: list[int] = tokenizer(_text(path), add_special_tokens=False).input_ids
    num_prompts = min(num_prompts, len(token_ids) // num_tokens)
    if num_prompts == 0:
        raise WeightsError(
            f"{path} has {len(token_ids)} tokens, less than one prompt of {num_tokens}; give more "
            "text or fewer --tokens"
        )
    # Spread over the text: its beginning may be of one kind.
    step = len(token_ids) // num_prompts
    for start in range(0, num_prompts * step, step):
        input_ids = torch.tensor([token_ids[start : start + num_tokens]], device=device)
        yield {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}


def _text(path: Path) -> str:
    try:
        content = path.read_text(encoding="utf-8")
        if path.suffix != ".jsonl":
            return content
        return "\n\n".join(str(json.loads(line)["text"]) for line in content.splitlines() if line)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError) as error:
        raise WeightsError(
            f"cannot read calibration text from {path} ({type(error).__name__}): give a text file "
            'in UTF-8, or JSON lines {"text": …}'
        ) from error
