"""Load linear layers that a checkpoint holds packed, by our own code.

transformers loads everything else. The packed layers are left out of its model and put in one by
one, so that at most one of them is in memory twice.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from encodeonce.models.checkpoint.decoder_layers import decoder_layers
from encodeonce.models.checkpoint.files import CheckpointError, StoredTensor, stored_tensors
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks, without_stored
from encodeonce.models.family import find_family
from encodeonce.models.quantization.grid import Codes, dense_linear
from encodeonce.models.quantization.int4_linear import Int4Linear
from encodeonce.models.quantization.layout import Layout
from encodeonce.models.quantization.method import Candidate


class Kernel(StrEnum):
    """How quantised weights are computed with."""

    DENSE = "dense"
    """Rounded weights in the model's precision: no smaller, and as fast, as unquantised ones."""
    INT4 = "int4"
    """PyTorch's multiplication with 4-bit weights: about a quarter of the memory."""


def built(
    codes: Codes, bias: torch.Tensor | None, kernel: Kernel, dtype: torch.dtype, where: torch.device
) -> nn.Module:
    """Return a linear layer on a device that computes with rounded weights."""
    bias = None if bias is None else bias.to(where, dtype)
    if kernel is Kernel.INT4:
        return Int4Linear(codes, bias, dtype, where)
    return dense_linear(codes.dense().to(where, dtype), bias)


class PackedHooks(LoadingHooks):
    """Packed linear layers of a checkpoint's language model."""

    def __init__(self, candidate: Candidate, stored: Mapping[str, Any], kernel: Kernel) -> None:
        """Look up where the packed layers are.

        Raises:
            WeightsError: the layout cannot be read.
            CheckpointError: there are none, or others than the language model's.
        """
        named = candidate.model.model_copy(update={"path": str(candidate.source)})
        family, folder = find_family(named)
        name = str(stored["quant_method"]).replace("-", "_")
        module = import_module(f"encodeonce.models.quantization.layouts.{name}")
        self._layout: Layout = module.LAYOUT(stored)
        self._kernel = kernel
        self._dtype = getattr(torch, candidate.model.dtype)
        self._layers = _find(family.language_folder(folder), self._layout.names)
        self.ignored = (rf"layers\.\d+\..*\.({'|'.join((*self._layout.names, 'bias'))})$",)

    def config(self, config: Any) -> Any:
        """Return the configuration of the model as if nothing were quantised."""
        return without_stored(config)

    def outline(self, model: nn.Module) -> None:
        """Leave the packed layers out."""
        for number, name in self._layers:
            decoder_layers(model)[number].set_submodule(name, nn.Identity())

    def finish(self, model: Any, device: torch.device) -> None:
        """Put the packed layers in."""
        model.to(device)
        layers = decoder_layers(model)
        for (number, name), stored in self._layers.items():
            read = {part: place.read().to(device) for part, place in stored.items()}
            bias = read.pop("bias", None)
            linear = built(self._layout.unpack(read), bias, self._kernel, self._dtype, device)
            layers[number].set_submodule(name, linear)


Linear = tuple[int, str]
"""A linear layer: the number of its decoder layer, and its name in that."""


def _find(folder: Path, names: tuple[str, ...]) -> dict[Linear, dict[str, StoredTensor]]:
    """Return where each packed layer's tensors are stored, by the last part of their names."""
    pattern = re.compile(rf"(.*?)\blayers\.(\d+)\.(.+)\.({'|'.join((*names, 'bias'))})$")
    found: dict[str, dict[Linear, dict[str, StoredTensor]]] = {}
    for place in stored_tensors(folder):
        if match := pattern.match(place.name):
            prefix, number, inner, part = match.groups()
            layers = found.setdefault(prefix, {})
            layers.setdefault((int(number), inner), {})[part] = place
    packed = {
        prefix: {linear: parts for linear, parts in layers.items() if names[0] in parts}
        for prefix, layers in found.items()
    }
    prefixes = [prefix for prefix, layers in packed.items() if layers]
    if len(prefixes) != 1:
        raise CheckpointError(
            f"{folder} holds packed layers (*.{names[0]}) under {prefixes or 'no name'}; they "
            "should be the language model's alone"
        )
    return packed[prefixes[0]]
