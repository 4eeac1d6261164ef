"""Round to nearest: every weight to the closest value on its group's grid. The baseline for 4 bits.

This needs no calibration, so it is done while loading; or the weights are read from a checkpoint
that `encodeonce quantize` has made.
"""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from encodeonce.models.checkpoint.decoder_layers import decoder_layers, linears
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.quantization.checks import layer_widths, refuse_other_model, refuse_quantised
from encodeonce.models.quantization.grid import Grid, quantize
from encodeonce.models.quantization.int4_linear import check_int4
from encodeonce.models.quantization.made_here import check_kernel, check_made_by, stored_as
from encodeonce.models.quantization.method import Candidate, Options
from encodeonce.models.quantization.packed import Kernel, PackedHooks, built
from encodeonce.models.quantization.registry import WeightsError


class Rounding(LoadingHooks):
    """Rounds weights on the device, one linear layer after another."""

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


class Rtn(Options):
    """With a ``path``, the checkpoint says how finely it was rounded."""

    display_name: ClassVar[str] = "RTN"

    num_bits: Literal[4, 8] = Field(default=4, description="Bits of a weight.")
    group_size: int = Field(
        default=128, ge=8, multiple_of=8, description="Inputs that share a scale and a zero."
    )
    symmetric: bool = Field(
        default=False, description="Whether zero is in the middle of every grid."
    )
    kernel: Kernel = Field(default=Kernel.DENSE, description="As for 'awq'.")

    @property
    def grid(self) -> Grid:
        """How finely weights are rounded while loading."""
        return Grid(num_bits=self.num_bits, group_size=self.group_size, symmetric=self.symmetric)

    def check(self, candidate: Candidate) -> None:
        """Refuse a group size that does not divide the widths, or what has no kernel here."""
        if candidate.path is not None:
            self._refuse_grid()
            refuse_other_model(candidate)
            stored = stored_as(candidate, "rtn", ("compressed-tensors",))
            check_made_by(candidate, "rtn")
            check_kernel(candidate, self.kernel, stored)
            return
        refuse_quantised(candidate, "rtn")
        for name, inputs, _ in layer_widths(candidate):
            if inputs % self.group_size:
                raise WeightsError(
                    f"weights 'rtn': {name} has {inputs} inputs, no multiple of the group size "
                    f"{self.group_size}. Set options: {{group_size: …}} to a divisor."
                )
        if self.kernel is Kernel.INT4:
            if self.num_bits != 4:
                raise WeightsError("kernel 'int4' is for num_bits: 4; write kernel: dense")
            check_int4(candidate, self.group_size, layer_widths(candidate))

    def _refuse_grid(self) -> None:
        given = sorted(self.model_fields_set - {"kernel"})
        if given:
            raise WeightsError(
                f"weights 'rtn': with a path the checkpoint says how it was rounded; leave away "
                f"{', '.join(given)}"
            )

    def loading_hooks(self, candidate: Candidate) -> LoadingHooks:
        """Return how the weights are loaded."""
        if candidate.path is None:
            return Rounding(self.grid, self.kernel)
        stored = stored_as(candidate, "rtn", ("compressed-tensors",))
        return PackedHooks(candidate, stored, self.kernel)


QUANTIZER = Rtn
