"""Rounding a language model's weights to nearest while it is loaded."""

from typing import Any

import torch

from encodeonce.models.decoder_layers import decoder_layers, linears
from encodeonce.models.quantization.grid import Grid, quantize
from encodeonce.models.quantization.packed import Kernel, built
from encodeonce.models.treatment import Treatment


class Rounding(Treatment):
    """Layers are rounded on the device, one linear layer after another."""

    def __init__(self, grid: Grid, kernel: Kernel) -> None:
        """Take how finely weights are rounded, and what they compute with."""
        self._grid = grid
        self._kernel = kernel

    def finish(self, model: Any, device: torch.device) -> None:
        """Round the decoder layers, then move the rest."""
        for layer in decoder_layers(model):
            for name, linear in linears(layer).items():
                codes = quantize(linear.weight.to(device), self._grid)
                dtype = linear.weight.dtype
                layer.set_submodule(name, built(codes, linear.bias, self._kernel, dtype, device))
        model.to(device)
