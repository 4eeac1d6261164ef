"""Make a quantised checkpoint from a model's, with a model card."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from encodeonce.models.checkpoint.files import checkpoint_digest, file_digest
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.family import find_family
from encodeonce.models.quantization.checks import refuse_quantised
from encodeonce.models.quantization.made_here import ORIGIN_FILE
from encodeonce.models.quantization.making.calibration import Inputs
from encodeonce.models.quantization.making.export import (
    config_text,
    quantization_config,
    stored_prefix,
    write_checkpoint,
)
from encodeonce.models.quantization.making.recipe import (
    Progress,
    Recipe,
    fitting_grid,
    quantize_layers,
)
from encodeonce.models.quantization.method import find_candidate
from encodeonce.models.quantization.registry import WeightsError
from encodeonce.models.spec import NONE, ModelSpec, VisionSpec

UNFINISHED = ".layers"
"""Folder of finished layers, in the folder that the checkpoint is written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Prompts that activations are measured on."""

    description: Mapping[str, Any]
    """All that they depend on, as plain JSON values."""
    prompts: Callable[[PrefixDecoder], Iterator[Inputs]]
    vision: VisionSpec = VisionSpec(tap="projected")
    """Where the features in them are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A quantised checkpoint."""

    folder: Path
    recipe: Recipe
    """As it was followed: groups may be smaller than asked for."""


def make_quantized(
    model: ModelSpec,
    recipe: Recipe,
    calibration: Calibration | None,
    target: Path,
    on_layer: Callable[[int, int], None],
) -> Made:
    """Quantise a model's decoder layers and write the checkpoint. Call it again to continue.

    Args:
        model: what to quantise.
        recipe: what to do to its weights.
        calibration: prompts, for methods that need them.
        target: the folder to write.
        on_layer: called with the numbers of finished and of all layers.

    Raises:
        WeightsError: the method does not suit the model, calibration is missing, or ``target``
            holds something else.
    """
    if recipe.is_calibrated and calibration is None:
        raise WeightsError(f"{recipe.method} needs calibration: give --text or --run")
    if target.exists() and not (target / UNFINISHED).is_dir() and any(target.iterdir()):
        raise WeightsError(f"{target} is not empty; give another folder, or remove it")
    family, folder = find_family(model)
    refuse_quantised(find_candidate(NONE, model, folder), recipe.method)
    vision = VisionSpec(tap="projected") if calibration is None else calibration.vision
    decoder: Any = family.decoder(folder, model, vision)
    language = family.language_folder(folder)
    prefix = stored_prefix(language, decoder.model)
    recipe = replace(recipe, grid=fitting_grid(decoder.model, recipe.grid))
    origin = _origin(model, folder, recipe, calibration)
    progress = Progress(target / UNFINISHED, origin)

    def prompts() -> Iterator[Inputs]:
        assert calibration is not None
        return calibration.prompts(decoder)

    quantize_layers(decoder.model, recipe, prompts, progress, on_layer)
    with torch.device("meta"):
        whole = type(decoder.model).whole_class(decoder.model.config)
    place = language.relative_to(folder)
    files = {
        str(place / "config.json"): config_text(language, quantization_config(whole, recipe.grid)),
        str(place / ORIGIN_FILE): json.dumps(origin, indent=2) + "\n",
        "README.md": card(origin),
    }
    write_checkpoint(folder, target, place, prefix, progress.path, files)
    shutil.rmtree(target / UNFINISHED)
    return Made(folder=target, recipe=recipe)


def _origin(
    model: ModelSpec, folder: Path, recipe: Recipe, calibration: Calibration | None
) -> dict[str, Any]:
    """Return how a checkpoint is made, as plain JSON values."""
    used = calibration if recipe.is_calibrated else None
    return {
        **asdict(recipe),
        "base": model.path,
        "base_sha256": checkpoint_digest(folder, file_digest),
        "dtype": model.dtype,
        "calibration": None if used is None else dict(used.description),
        "software": {name: version(name) for name in ("encodeonce", "torch", "transformers")},
    }


_METHODS = {
    "awq": "AWQ ([arXiv:2306.00978](https://arxiv.org/abs/2306.00978)): channels scaled by their "
    "activations{clipped}, then rounded to nearest",
    "rtn": "rounding to nearest; no calibration",
}


def card(origin: Mapping[str, Any]) -> str:
    """Return the text of the checkpoint's README.md.

    Args:
        origin: how the checkpoint was made.
    """
    grid = origin["grid"]
    zeros = "the middle of the grid" if grid["symmetric"] else "a zero of its own"
    clipped = ", large weights clipped where that lowers the error" if origin["clips"] else ""
    calibration = origin["calibration"]
    calibrated = "none" if calibration is None else f"`{json.dumps(calibration)}`"
    software = ", ".join(f"{name} {version}" for name, version in origin["software"].items())
    rows = {
        "base model": f"{origin['base']} (SHA-256 of its files {origin['base_sha256'][:16]}…)",
        "method": _METHODS[origin["method"]].format(clipped=clipped),
        "weights": f"{grid['num_bits']} bits; {grid['group_size']} inputs share a scale and "
        f"{zeros}",
        "quantised": "linear layers of the language model's decoder layers",
        "left as they are": "vision tower, projector, embeddings, head",
        "scales in": origin["dtype"],
        "calibration": calibrated,
        "made by": f"`encodeonce quantize` ({software})",
    }
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    return (
        "---\nlibrary_name: transformers\ntags: [compressed-tensors, pack-quantized]\n---\n\n"
        f"# {origin['base']}, {grid['num_bits']} bits by {origin['method'].upper()}\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        "transformers loads it with `compressed-tensors` installed. The licence is the base "
        "model's.\n\n"
        "Scores on the data it was calibrated on say little: evaluate it on other data.\n"
    )
