"""Cut calibration prompts from a text file."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.quantization.making.calibration import Inputs
from encodeonce.models.quantization.making.make import Calibration
from encodeonce.models.quantization.method import WeightsError


def text_calibration(path: Path, num_prompts: int, num_tokens: int) -> Calibration:
    """Return prompts cut from a text file.

    Args:
        path: a text file, or JSON lines with the text under ``text``.
        num_prompts: at most this many.
        num_tokens: length of each prompt.

    Raises:
        WeightsError: the file cannot be read.
    """
    text = _text(path)
    return Calibration(
        description={
            "text": path.name,
            "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "num_prompts": num_prompts,
            "num_tokens": num_tokens,
        },
        prompts=lambda decoder: _prompts(text, decoder, num_prompts, num_tokens),
    )


def _prompts(
    text: str, decoder: PrefixDecoder, num_prompts: int, num_tokens: int
) -> Iterator[Inputs]:
    token_ids: list[int] = decoder.tokenizer(text, add_special_tokens=False).input_ids
    num_prompts = min(num_prompts, len(token_ids) // num_tokens)
    if num_prompts == 0:
        raise WeightsError(
            f"the calibration text has {len(token_ids)} tokens, less than one prompt of "
            f"{num_tokens}; give more text, or prompts of fewer tokens"
        )
    # Spread over the text: its beginning may be of one kind.
    step = len(token_ids) // num_prompts
    for start in range(0, num_prompts * step, step):
        row = token_ids[start : start + num_tokens]
        input_ids = torch.tensor([row], device=decoder.model.device)
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
