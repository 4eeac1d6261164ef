"""Weight variants of a text model that calibration makes, read back by our own layouts."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from encodeonce.models.checkpoint.decoder_layers import decoder_layers, linears
from encodeonce.models.quantization.grid import Grid
from encodeonce.models.quantization.layout import Layout
from encodeonce.models.quantization.layouts.compressed_tensors import PackQuantized
from encodeonce.models.quantization.layouts.gptq import Gptq
from encodeonce.models.quantization.making.calibration import Inputs
from encodeonce.models.quantization.making.export import quantization_config
from encodeonce.models.quantization.making.recipe import Progress, Recipe, quantize_layers
from tests.real.prose import articles
from tests.real.smollm2 import load_model
from tests.real.weights import GROUP_SIZE, NUM_TOKENS

NUM_PIECES = 8
"""Of prose to calibrate on, from the corpus's beginning; what is measured comes from its end."""
GRID = Grid(num_bits=4, group_size=GROUP_SIZE, symmetric=False)
NUM_SEARCH_TOKENS = 512
"""Tokens on which each scale is tried: AWQ's search is most of the work."""


def calibration_pieces(decoder: Any) -> list[list[int]]:
    """Return pieces of prose to calibrate on, as tokens."""
    token_ids = decoder.ids("\n\n".join(articles()))
    return [token_ids[n * NUM_TOKENS : (n + 1) * NUM_TOKENS] for n in range(NUM_PIECES)]


def awq(folder: Path, work: Path, prose: Sequence[Sequence[int]]) -> Any:
    """Return a checkpoint's model, its layers rounded by AWQ.

    Args:
        folder: the checkpoint.
        work: a folder for finished layers; if it has some, they are not done again.
        prose: pieces to calibrate on, as tokens.
    """
    recipe = Recipe(method="awq", grid=GRID, num_search_tokens=NUM_SEARCH_TOKENS)
    progress = Progress(work, {})

    def prompts() -> Iterator[Inputs]:
        for piece in prose:
            ids = torch.tensor([list(piece)])
            yield {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    quantize_layers(load_model(folder), recipe, prompts, progress, lambda *_: None)
    model = load_model(folder)
    layout = PackQuantized(quantization_config(model, GRID))
    for number, layer in enumerate(decoder_layers(model)):
        _put(layer, layout, load_file(progress.path(number)))
    return model


def read_gptq(folder: Path, quantised: Path) -> Any:
    """Return a checkpoint's model with the layers of another in GPTQ's layout, read by ours."""
    model = load_model(folder)
    settings = json.loads((quantised / "config.json").read_text())["quantization_config"]
    layout = Gptq(settings)
    by_layer: dict[int, dict[str, torch.Tensor]] = {}
    for file in quantised.glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            if match := re.match(r"model\.layers\.(\d+)\.(.+)", name):
                by_layer.setdefault(int(match[1]), {})[match[2]] = tensor
    for number, layer in enumerate(decoder_layers(model)):
        _put(layer, layout, by_layer[number])
    return model


@torch.no_grad()
def _put(layer: Any, layout: Layout, stored: Mapping[str, torch.Tensor]) -> None:
    """Put packed weights, and all else that is stored, into a layer."""
    parts = linears(layer)
    for name, linear in parts.items():
        packed = {
            part: stored[f"{name}.{part}"] for part in layout.names if f"{name}.{part}" in stored
        }
        linear.weight.copy_(layout.unpack(packed).dense())
    for name, value in layer.named_parameters():
        if name in stored and name.removesuffix(".weight") not in parts:
            value.copy_(stored[name])
