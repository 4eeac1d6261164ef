"""Attention over parts of the keys, and the union of such parts.

Softmax over a union of keys follows from the softmax over each part and the logarithm of its sum,
as in FlashAttention (Dao et al., 2022, arXiv:2205.14135, section 3.1). So keys that many rows share
are read once for all of them, and each row's own keys apart.

Shapes: B batch, H heads, Q queries, S keys, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Part(NamedTuple):
    """Attention over some of the keys."""

    output: torch.Tensor
    """(B, H, Q, D) in the queries' precision."""
    log_sum: torch.Tensor
    """(B, H, Q) float32: logarithm of the sum of the exponentials of the scaled products."""


def attend_part(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    visible: torch.Tensor | None = None,
) -> Part:
    """Return the attention of queries over some keys.

    Args:
        queries: (B, H, Q, D).
        keys: (B, H, S, D), S > 0.
        values: (B, H, S, D).
        scaling: of the products.
        visible: bool, (B or 1, 1, Q, S); every query sees a key. None for all.
    """
    if queries.device.type != "cpu":
        return _exact(queries, keys, values, scaling, visible)
    bias = None
    if visible is not None:
        bias = torch.zeros(visible.shape, dtype=queries.dtype).masked_fill_(~visible, float("-inf"))
    # The kernel behind scaled_dot_product_attention, which keeps the logarithm to itself.
    output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        queries, keys, values, 0.0, False, attn_mask=bias, scale=scaling
    )
    return Part(output, log_sum)


def _exact(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    visible: torch.Tensor | None,
) -> Part:
    """Return the same on any device, with scores in float32."""
    scores = torch.matmul(queries, keys.transpose(-1, -2)).float() * scaling
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    log_sum = scores.logsumexp(-1)
    weights = (scores - log_sum[..., None]).exp().to(values.dtype)
    return Part(torch.matmul(weights, values), log_sum)


def union(parts: Sequence[Part]) -> torch.Tensor:
    """Return the attention (B, H, Q, D) over the keys of all parts together."""
    if len(parts) == 1:
        return parts[0].output
    log_sums = torch.stack([part.log_sum for part in parts])
    shares = log_sums.softmax(0)[..., None]
    weighted = [part.output.float() * share for part, share in zip(parts, shares, strict=True)]
    return torch.stack(weighted).sum(0).to(parts[0].output.dtype)
