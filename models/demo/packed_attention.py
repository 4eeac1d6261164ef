"""Attention of many lessons to one visual prefix, in one pass and without a quadratic mask."""

from typing import Any

import torch
from transformers import AttentionInterface

NAME = "demo_lessons"


def attend_in_lessons(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    own_mask: torch.Tensor,
    kept: torch.Tensor | None,
    watched: dict[int, torch.Tensor],
    watched_prefix: dict[int, torch.Tensor],
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Let the prefix look at itself, and each slot of lessons at the prefix and at itself.

    With one mask over everything, most of the scores computed would be those of lessons that do
    not see each other (measured: two thirds of the time of a step).

    Args:
        module: The attention layer.
        query: `(B, H, P + N * T, D)`: the prefix, then N slots of T tokens.
        key: `(B, H_kv, P + N * T, D)`.
        value: Like `key`.
        attention_mask: Not used.
        scaling: Factor of the scores.
        own_mask: Who sees whom within a slot, `(B, N, T, T)`.
        kept: What of the prefix the slots' tokens see, `(B, H_kv, N, T, P)`; None for all of it.
        watched: By layer number; the weights of the heads on the first key-value head are put
            there for the layers that are in it, `(B, G, N, T, P + T)`.
        watched_prefix: The same for the weights of the first head within the prefix, `(B, P, P)`.
        kwargs: Not used.

    Returns:
        The attention's output, `(B, P + N * T, H, D)`, and no weights.
    """
    del attention_mask, kwargs
    num_clips, num_heads, _, width = query.shape
    num_kv_heads = key.shape[1]
    slots, length = own_mask.shape[1], own_mask.shape[2]
    split = key.shape[2] - slots * length
    seen, weights_in_prefix = _attend_to_prefix(
        query[:, :, :split] * scaling, key[:, :, :split], value[:, :, :split]
    )
    if module.layer_idx in watched_prefix:
        watched_prefix[module.layer_idx] = weights_in_prefix
    # The query heads that share a key-value head stand side by side: (B, H_kv, G, N, T, D).
    asked = (query[:, :, split:] * scaling).view(num_clips, num_kv_heads, -1, slots, length, width)
    groups = asked.shape[2]
    to_prefix = (asked.flatten(2, 4) @ key[:, :, :split].transpose(2, 3)).unflatten(
        2, (groups, slots, length)
    )
    if kept is not None:
        to_prefix = to_prefix.masked_fill(~kept[:, :, None], float("-inf"))
    own_key, own_value = (one[:, :, split:].unflatten(2, (slots, length)) for one in (key, value))
    to_own = torch.einsum("bkgntd,bknsd->bkgnts", asked, own_key)
    to_own = to_own.masked_fill(~own_mask[:, None, None], float("-inf"))
    weights = torch.cat([to_prefix, to_own], dim=-1).softmax(-1).to(value.dtype)
    if module.layer_idx in watched:
        watched[module.layer_idx] = weights[:, 0]
    output = (weights[..., :split].flatten(2, 4) @ value[:, :, :split]).unflatten(
        2, (groups, slots, length)
    )
    output = output + torch.einsum("bkgnts,bknsd->bkgntd", weights[..., split:], own_value)
    answered = output.reshape(num_clips, num_heads, slots * length, width)
    return torch.cat([seen, answered], dim=2).transpose(1, 2), None


def _attend_to_prefix(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return causal attention of the prefix to itself, `(B, H, P, D)`, and a head's weights.

    Written out, because PyTorch's own kernel for processors is several times slower backwards.
    """
    length, width = query.shape[2:]
    grouped = query.reshape(len(query), key.shape[1], -1, width)
    scores = (grouped @ key.transpose(2, 3)).unflatten(2, (-1, length))
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1).to(value.dtype)
    return (weights.flatten(2, 3) @ value).reshape(query.shape), weights[:, 0, 0]


AttentionInterface.register(NAME, attend_in_lessons)
