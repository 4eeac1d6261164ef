"""Attention over parts of the keys, and the union of such parts.

Softmax over a union of keys follows from the softmax over each part and the logarithm of its sum,
as in FlashAttention (Dao et al., 2022, arXiv:2205.14135, section 3.1). So keys that many rows share
are read once for all of them, and each row's own keys apart.

PyTorch's fused kernels return that logarithm below `scaled_dot_product_attention`, which keeps it
to itself. `part_kernel` says which of them is used: PyTorch's own tests decide.

Shapes: B batch, H heads, Q queries, S keys, D width.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch.backends import cuda

PartKernel = Literal["flash_cpu", "flash", "efficient", "products"]
_ALIGNED = 16
"""The efficient kernel takes a bias only if its rows begin at multiples of this many elements."""


class Part(NamedTuple):
    """Attention over some of the keys."""

    output: torch.Tensor
    """(B, H, Q, D) in the queries' precision, or in float32."""
    log_sum: torch.Tensor
    """(B, H, Q) float32: logarithm of the sum of the exponentials of the scaled products."""


def attend_part(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    bias: torch.Tensor | None = None,
) -> Part:
    """Return the attention of queries over some keys.

    Args:
        queries: (B, H, Q, D).
        keys: (B, H, S, D), S > 0.
        values: (B, H, S, D).
        scaling: of the products.
        bias: (B or 1, 1, Q or 1, S) in the queries' precision, as `bias_of` or `aligned` makes it,
            added to the scaled products; every query sees a key. None if all see all.
    """
    kernel = part_kernel(
        queries.device,
        queries.dtype,
        (queries.shape[-1], values.shape[-1]),
        is_masked=bias is not None,
    )
    return _KERNELS[kernel](queries, keys, values, scaling, bias)


def bias_of(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return 0 where a key is visible and -inf elsewhere.

    Args:
        visible: bool, (..., S).
        dtype: of the result.
    """
    bias = torch.zeros(_padded(visible.shape), dtype=dtype, device=visible.device)
    return bias[..., : visible.shape[-1]].masked_fill_(~visible, float("-inf"))


def aligned(bias: torch.Tensor) -> torch.Tensor:
    """Return a copy of a bias whose rows begin where kernels want them."""
    return bias.new_zeros(_padded(bias.shape))[..., : bias.shape[-1]].copy_(bias)


def _padded(shape: Sequence[int]) -> tuple[int, ...]:
    *rows, size = shape
    return (*rows, -(-size // _ALIGNED) * _ALIGNED)


@cache
def part_kernel(
    device: torch.device, dtype: torch.dtype, widths: tuple[int, int], *, is_masked: bool
) -> PartKernel:
    """Return the name of the kernel that attends to a part.

    Args:
        device: where the tensors are.
        dtype: of queries, keys and values.
        widths: of a key and of a value.
        is_masked: whether some queries see only some keys.
    """
    if device.type == "cpu":
        return "flash_cpu"
    if device.type != "cuda" or torch.version.hip:  # ROCm's kernels have not been looked at
        return "products"
    key_width, value_width = widths
    keys, values = (torch.empty(1, 1, 16, width, dtype=dtype, device=device) for width in widths)
    mask = torch.empty(1, 1, 16, 16, dtype=dtype, device=device) if is_masked else None
    asked = cuda.SDPAParams(keys, keys, values, mask, 0.0, False, False)
    # Other widths are padded by scaled_dot_product_attention, not by the kernel.
    is_flash_width = key_width == value_width and key_width % 8 == 0
    if not is_masked and is_flash_width and cuda.can_use_flash_attention(asked):
        return "flash"
    return "efficient" if cuda.can_use_efficient_attention(asked) else "products"


def _flash_cpu(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    bias: torch.Tensor | None,
) -> Part:
    output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        queries, keys, values, 0.0, False, attn_mask=bias, scale=scaling
    )
    return Part(output, log_sum)


def _flash(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    bias: torch.Tensor | None,
) -> Part:
    assert bias is None, "the flash kernel takes no bias"
    output, log_sum, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
        queries, keys, values, scale=scaling
    )
    return Part(output, log_sum)


def _efficient(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    bias: torch.Tensor | None,
) -> Part:
    num_queries = queries.shape[2]
    if bias is not None:
        bias = bias.expand(*queries.shape[:3], keys.shape[2])
    output, log_sum, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        queries, keys, values, bias, True, scale=scaling
    )
    return Part(output, log_sum[..., :num_queries])  # the kernel pads them to a multiple of 32


def _products(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    bias: torch.Tensor | None,
) -> Part:
    """Do it on any device by two matrix products, with a softmax in float32."""
    scores = torch.matmul(queries, keys.transpose(-1, -2)).float() * scaling
    if bias is not None:
        scores = scores + bias.float()
    log_sum = scores.logsumexp(-1)
    weights = (scores - log_sum[..., None]).exp().to(values.dtype)
    return Part(torch.matmul(weights, values), log_sum)


_KERNELS: dict[PartKernel, Callable[..., Part]] = {
    "flash_cpu": _flash_cpu,
    "flash": _flash,
    "efficient": _efficient,
    "products": _products,
}


def union(parts: Sequence[Part]) -> torch.Tensor:
    """Return the attention (B, H, Q, D) over the keys of all parts, in the last one's precision."""
    if len(parts) == 1:
        return parts[0].output
    log_sums = torch.stack([part.log_sum for part in parts])
    shares = log_sums.softmax(0)[..., None]
    weighted = [part.output.float() * share for part, share in zip(parts, shares, strict=True)]
    return torch.stack(weighted).sum(0).to(parts[-1].output.dtype)
