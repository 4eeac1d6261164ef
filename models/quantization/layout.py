"""Read linear layers from the layouts that quantised checkpoints have.

The folder `layouts/` has a file for each layout, named by config.json's ``quant_method``.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from encodeonce.models.quantization.grid import Codes

Stored = Mapping[str, torch.Tensor]
"""A linear layer's tensors, by the last part of their names."""


class Layout(Protocol):
    """Reads one layout. ``LAYOUT`` in each file is its class."""

    names: tuple[str, ...]
    """Last parts of the names of a layer's tensors; the first is there for every layer."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take config.json's ``quantization_config``.

        Raises:
            WeightsError: this variety of the layout cannot be read.
        """
        ...

    def unpack(self, stored: Stored) -> Codes:
        """Return a layer's rounded weights."""
        ...


def int32_fields(packed: torch.Tensor, num_bits: int) -> torch.Tensor:
    """Split int32 numbers (..., N) into their fields (..., N, 32 / bits), lowest bits first."""
    shifts = torch.arange(0, 32, num_bits, device=packed.device, dtype=torch.int32)
    return (packed[..., None] >> shifts) & ((1 << num_bits) - 1)
