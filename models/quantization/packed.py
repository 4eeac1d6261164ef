"""Loading linear layers that lie packed in a checkpoint, by our own code.

transformers loads everything else; the packed layers are left out of its model and put in one by
one, so that never more than one of them is held twice.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from encodeonce.models.checkpoint import CheckpointError, Read, tensors
from encodeonce.models.decoder_layers import decoder_layers
from encodeonce.models.family import find_family
from encodeonce.models.quantization.grid import Codes, dense_linear
from encodeonce.models.quantization.int4_linear import Int4Linear
from encodeonce.models.quantization.layout import Layout
from encodeonce.models.quantizer import Candidate
from encodeonce.models.treatment import Treatment, without_stored


class Kernel(StrEnum):
    """What quantised weights compute with."""

    DENSE = "dense"
    """Rounded weights in the model's precision: as accurate, no smaller, as fast."""
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


class PackedTreatment(Treatment):
    """Packed linear layers of a checkpoint's language model."""

    def __init__(self, candidate: Candidate, stored: Mapping[str, Any], kernel: Kernel) -> None:
        """Look up where the packed layers are.

        Raises:
            WeightsError: the layout cannot be read.
            CheckpointError: there are none, or more than the language model's.
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
            read = {part: stored[part]().to(device) for part in stored}
            bias = read.pop("bias", None)
            linear = built(self._layout.unpack(read), bias, self._kernel, self._dtype, device)
            layers[number].set_submodule(name, linear)


def _find(folder: Path, names: tuple[str, ...]) -> dict[tuple[int, str], dict[str, Read]]:
    """Return how to read each packed layer's tensors, by decoder layer and name in it."""
    found: dict[str, dict[tuple[int, str], dict[str, Read]]] = {}
    for prefix, number, name, part, read in _in_layers(folder, (*names, "bias")):
        found.setdefault(prefix, {}).setdefault((number, name), {})[part] = read
    for prefix, layers in found.items():
        found[prefix] = {key: parts for key, parts in layers.items() if names[0] in parts}
    packed = [prefix for prefix, layers in found.items() if layers]
    if len(packed) != 1:
        raise CheckpointError(
            f"{folder} holds packed layers (*.{names[0]}) of {' and '.join(packed) or 'nothing'}; "
            "it should be of the language model alone"
        )
    return found[packed[0]]


def _in_layers(folder: Path, parts: tuple[str, ...]) -> Iterator[tuple[str, int, str, str, Read]]:
    pattern = re.compile(rf"(.*?)\blayers\.(\d+)\.(.+)\.({'|'.join(parts)})$")
    for name, read in tensors(folder):
        if match := pattern.match(name):
            prefix, number, inner, part = match.groups()
            yield prefix, int(number), inner, part, read
