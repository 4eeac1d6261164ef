"""Round weights to a grid: each group of a row's inputs has a scale and a zero.

Shapes: O outputs, I inputs, G groups per row.
"""

from dataclasses import dataclass

import torch
from torch import nn

SMALLEST_RANGE = 1e-5
"""Least range of a group's weights, so that a group of zeros has a scale (as in AWQ's code)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How finely weights are rounded."""

    num_bits: int = 4
    group_size: int = 128
    symmetric: bool = False
    """Whether zero is the middle of every group's grid."""

    @property
    def num_levels(self) -> int:
        """Values that a code can have."""
        return 1 << self.num_bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """Rounded weights: (code - zero) * scale."""

    codes: torch.Tensor
    """(O, I) uint8."""
    zeros: torch.Tensor
    """(O, G) uint8."""
    scales: torch.Tensor
    """(O, G), in the precision they are stored in."""
    groups: torch.Tensor | None = None
    """(I,) group of each input; None if groups are runs of inputs."""

    @property
    def group_size(self) -> int:
        """Inputs that share a scale."""
        return self.codes.shape[1] // self.scales.shape[1]

    def dense(self) -> torch.Tensor:
        """Return the weights (O, I) in the scales' precision."""
        if self.groups is None:
            zeros, scales = (
                part.repeat_interleave(self.group_size, 1) for part in (self.zeros, self.scales)
            )
        else:
            zeros, scales = self.zeros[:, self.groups], self.scales[:, self.groups]
        # A small integer times a 16-bit number is exact in float32: one rounding, to the scales'.
        return ((self.codes.int() - zeros.int()) * scales.float()).to(scales.dtype)


def quantize(weight: torch.Tensor, grid: Grid) -> Codes:
    """Round weights (O, I) to the nearest value on their group's grid; scales in their precision.

    The scale is rounded before the codes are chosen, so that they suit the stored scale.
    """
    weight_OGg = weight.float().unflatten(1, (-1, grid.group_size))
    # Zero is on every grid, so that groups whose weights have one sign do not lose it.
    high, low = weight_OGg.amax(-1).clamp(min=0), weight_OGg.amin(-1).clamp(max=0)
    last = grid.num_levels - 1
    spread = 2 * torch.maximum(high, -low) if grid.symmetric else high - low
    scales = (spread.clamp(min=SMALLEST_RANGE) / last).to(weight.dtype)
    steps = scales.float()
    if grid.symmetric:
        zeros = torch.full_like(steps, grid.num_levels // 2)
    else:
        zeros = (-low / steps).round().clamp(0, last)
    codes = ((weight_OGg / steps[..., None]).round() + zeros[..., None]).clamp(0, last)
    return Codes(codes=codes.flatten(1).byte(), zeros=zeros.byte(), scales=scales)


def rounded(weight: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return weights (O, I) after rounding, as layers compute with them."""
    return quantize(weight, grid).dense()


def dense_linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """Return a linear layer that computes with weights (O, I)."""
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear
