"""Cut calibration prompts from a text file."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch

from encodeonce.datasets.strict_json import JsonError, parse_json
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.quantization.making.calibration import Inputs
from encodeonce.models.quantization.making.make import Calibration
from encodeonce.models.quantization.registry import WeightsError


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
        rows = enumerate(content.splitlines(), 1)
        return "\n\n".join(_text_of(number, line) for number, line in rows if line.strip())
    except (OSError, UnicodeDecodeError, JsonError) as error:
        raise WeightsError(
            f"cannot read calibration text from {path}: {error}. Give a text file in UTF-8, or "
            'JSON lines {"text": …}'
        ) from error


def _text_of(number: int, line: str) -> str:
    """Return the text of a line of JSON."""
    try:
        row = parse_json(line)
    except JsonError as error:
        raise JsonError(f"line {number}: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise JsonError(f"line {number} has no text under 'text'")
    return str(row["text"])
