"""Quantise a model's decoder layers one by one; finished layers are kept, and not done again."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import nn

from encodeonce.models.checkpoint.decoder_layers import decoder_layers, linears
from encodeonce.models.quantization.grid import Grid, quantize
from encodeonce.models.quantization.layouts.compressed_tensors import pack
from encodeonce.models.quantization.making.awq import check_layer, clip, is_clipped, scale
from encodeonce.models.quantization.making.calibration import (
    Inputs,
    Prompt,
    advance,
    advance_and_see,
    capture,
)
from encodeonce.models.quantization.registry import WeightsError

SEARCH_TOKENS = 8192
LARGEST_CHANGE = 0.02
"""Largest relative change of a layer's output by folding scales: bfloat16's rounding, no more."""
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is done to the weights."""

    method: Literal["awq", "rtn"]
    grid: Grid
    clips: bool = True
    """AWQ: whether large weights are clipped after scaling."""
    num_search_tokens: int = SEARCH_TOKENS
    """AWQ: tokens that are run for each scale that is tried."""

    @property
    def is_calibrated(self) -> bool:
        """Whether calibration prompts are needed."""
        return self.method == "awq"


def fitting_grid(model: Any, grid: Grid) -> Grid:
    """Return a grid whose groups divide all widths: halved as often as necessary.

    Raises:
        WeightsError: no group of 8 inputs or more divides them.
    """
    widths = {part.in_features for part in linears(decoder_layers(model)[0]).values()}
    size = grid.group_size
    while size >= 8:
        if not any(width % size for width in widths):
            return Grid(num_bits=grid.num_bits, group_size=size, symmetric=grid.symmetric)
        size //= 2
    raise WeightsError(
        f"no group size up to {grid.group_size} divides the inputs of all linear layers "
        f"({', '.join(map(str, sorted(widths)))}); give --group-size"
    )


class Progress:
    """A folder of finished layers, of one recipe for one model and one calibration."""

    def __init__(self, folder: Path, of: Mapping[str, Any]) -> None:
        """Begin, or go on.

        Args:
            folder: where layers are kept.
            of: all that a layer's result depends on.

        Raises:
            WeightsError: the folder holds layers of something else.
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / _MANIFEST
        content = json.dumps(dict(of), indent=2, sort_keys=True)
        if not manifest.exists():
            manifest.write_text(content, encoding="utf-8")
        elif manifest.read_text(encoding="utf-8") != content:
            raise WeightsError(
                f"{folder} holds layers that were quantised otherwise (see {manifest}). Repeat "
                "that command to go on with them, or remove the folder."
            )

    def path(self, number: int) -> Path:
        """Return where a layer's tensors are, or will be."""
        return self._folder / f"layer-{number:05}.safetensors"

    def is_done(self, number: int) -> bool:
        """Whether a layer is finished."""
        return self.path(number).exists()

    def put(self, number: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep a layer; it is there whole or not at all."""
        unfinished = self.path(number).with_suffix(".unfinished")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished)
        unfinished.replace(self.path(number))


def quantize_layers(
    model: Any,
    recipe: Recipe,
    prompts: Callable[[], Iterator[Inputs]],
    progress: Progress,
    on_layer: Callable[[int, int], None],
) -> None:
    """Quantise the layers that are not finished. The model's weights are changed meanwhile.

    Args:
        model: a transformers model, or the language side of one.
        recipe: what is done.
        prompts: makes the calibration prompts; only called if they are needed.
        progress: keeps what is finished.
        on_layer: called with the numbers of finished and of all layers.

    Raises:
        WeightsError: the method does not suit the model.
    """
    layers = decoder_layers(model)
    if recipe.is_calibrated:
        for layer in layers:
            check_layer(layer)
    left = [number for number in range(len(layers)) if not progress.is_done(number)]
    captured: list[Prompt] = []
    if left and recipe.is_calibrated:
        captured = capture(model, prompts())
        if not captured:
            raise WeightsError("there are no calibration prompts")
    for number, layer in enumerate(layers):
        if number in left:
            progress.put(number, _quantized(layer, number, recipe, captured))
        elif left and number < left[-1]:
            advance(layer, number, captured)
        on_layer(number + 1, len(layers))


def _quantized(
    layer: nn.Module, number: int, recipe: Recipe, prompts: list[Prompt]
) -> dict[str, torch.Tensor]:
    """Return a layer's packed weights, and everything else in it that changed."""
    if recipe.is_calibrated:
        _prepare(layer, number, recipe, prompts)
    parts = linears(layer)
    tensors = {
        name: value.cpu()
        for name, value in layer.named_parameters()
        if recipe.is_calibrated and name.removesuffix(".weight") not in parts
    }
    with torch.inference_mode():
        for name, linear in parts.items():
            packed = pack(quantize(linear.weight, recipe.grid), recipe.grid)
            tensors |= {f"{name}.{part}": tensor for part, tensor in packed.items()}
    return tensors


def _prepare(layer: nn.Module, number: int, recipe: Recipe, prompts: list[Prompt]) -> None:
    """Scale and clip a layer by AWQ, and move the prompts through it as it was."""
    first = prompts[0].hidden
    seen = advance_and_see(layer, number, prompts)
    scale(layer, seen, recipe.grid, recipe.num_search_tokens)
    _check_unchanged(layer, number, first, prompts[0])
    if recipe.clips:
        for name, linear in linears(layer).items():
            if is_clipped(name):
                clip(linear, seen.inputs[name], recipe.grid)


def _check_unchanged(layer: nn.Module, number: int, before: torch.Tensor, after: Prompt) -> None:
    """Refuse a layer whose function is not what it was: its parts are connected otherwise."""
    again = Prompt(hidden=before, arguments=after.arguments, added=after.added)
    advance(layer, number, [again])
    change = (again.hidden - after.hidden).float().norm() / after.hidden.float().norm()
    if not change < LARGEST_CHANGE:
        raise WeightsError(
            f"folding scales changed the output of layer {number} by {float(change):.1%}: "
            f"{type(layer).__name__} is not connected as Llama's layers are. Use --method rtn."
        )
