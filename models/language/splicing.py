"""Splices features into a prompt's embeddings.

Shapes: N tokens, D width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

Piece = torch.Tensor | list[int]
"""A part of a prompt: features (N, D), or token ids."""


def up_to_last_media(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """Return a prompt's pieces up to the last that holds features; of a text, its first token."""
    last = max((n for n, one in enumerate(pieces) if isinstance(one, torch.Tensor)), default=-1)
    return pieces[: last + 1] if last >= 0 else [pieces[0][:1]]


def counted(pieces: Sequence[Piece]) -> list[int]:
    """Return token ids, with zeros in place of features, which have none."""
    token_ids: list[int] = []
    for piece in pieces:
        token_ids += [0] * len(piece) if isinstance(piece, torch.Tensor) else piece
    return token_ids


def visible(pieces: Sequence[Piece]) -> list[bool]:
    """Return for each token whether it is a feature."""
    return [isinstance(piece, torch.Tensor) for piece in pieces for _ in range(len(piece))]


def spliced(model: Any, pieces: Sequence[Piece]) -> dict[str, torch.Tensor]:
    """Return embeddings (1, N, D), with ids (1, N) of which only the number matters."""
    embed = model.get_input_embeddings()
    rows: list[torch.Tensor] = []
    with torch.inference_mode():
        for piece in pieces:
            if isinstance(piece, torch.Tensor):
                rows.append(piece)
            else:
                rows.append(embed(torch.tensor(piece, dtype=torch.long, device=model.device)))
        embeddings = torch.cat(rows)[None]
    input_ids = torch.tensor([counted(pieces)], device=embeddings.device)
    return {
        "input_ids": input_ids,
        "inputs_embeds": embeddings,
        "attention_mask": torch.ones_like(input_ids),
    }


def run(module: nn.Module, values: torch.Tensor, inner: int) -> torch.Tensor:
    """Apply a module that takes one leading axis to values (..., *inner dimensions)."""
    first = next(module.parameters())
    outer = values.shape[:-inner]
    with torch.inference_mode():
        result = module(values.flatten(0, len(outer) - 1).to(first.device, first.dtype))
    return torch.as_tensor(result).unflatten(0, outer)
