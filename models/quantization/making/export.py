"""Write a quantised checkpoint: the model's own, with its decoder layers replaced.

Tower, projector, embeddings and head are copied bit for bit, so that the quantised checkpoint's
features are the model's, and have the same signature.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from encodeonce.models.checkpoint.decoder_layers import decoder_layers, linears, linears_outside
from encodeonce.models.checkpoint.files import CHECKPOINT_FILES, read_config, tensors
from encodeonce.models.checkpoint.loading_hooks import STORED
from encodeonce.models.quantization.grid import Grid
from encodeonce.models.quantization.layouts.compressed_tensors import FORMAT
from encodeonce.models.quantization.registry import WeightsError

INDEX = "model.safetensors.index.json"
_IN_LAYERS = re.compile(r"(.*?\blayers)\.(\d+)\.(.+)$")


def stored_prefix(folder: Path, model: Any) -> str:
    """Return how the names of the language model's layers begin in a checkpoint.

    Raises:
        WeightsError: the checkpoint holds the first layer's weights under no such name.
    """
    name, linear = next(iter(linears(decoder_layers(model)[0]).items()))
    for stored, read in tensors(folder):
        match = _IN_LAYERS.match(stored)
        if match and match.group(2) == "0" and match.group(3) == f"{name}.weight":
            # Compared by value: a tower may have layers of the same names.
            value = read().to(linear.weight.dtype)
            if value.shape == linear.weight.shape and torch.equal(value, linear.weight.cpu()):
                return match.group(1)
    raise WeightsError(
        f"{folder} has no tensor *.layers.0.{name}.weight with the language model's weights: it "
        "stores them otherwise than transformers computes with them. Save it again by "
        "save_pretrained, and quantise that."
    )


def quantization_config(whole: Any, grid: Grid) -> dict[str, Any]:
    """Return what config.json should say, in compressed-tensors' words.

    Args:
        whole: the whole model, tower included; may be on the meta device.
        grid: how finely weights are rounded.
    """
    weights = {
        "num_bits": grid.num_bits,
        "type": "int",
        "symmetric": grid.symmetric,
        "strategy": "group",
        "group_size": grid.group_size,
        "dynamic": False,
    }
    group = {
        "targets": ["Linear"],
        "weights": weights,
        "input_activations": None,
        "output_activations": None,
        "format": FORMAT,
    }
    stored = {
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": _ignored(whole),
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
    }
    # compressed-tensors 0.20 loads zeros that are off the middle only into a dense model.
    return stored if grid.symmetric else {**stored, "dequantize": True}


def _ignored(whole: Any) -> list[str]:
    """Return patterns for what is not quantised, by parts' names: prefixes differ by library."""
    modules = dict(whole.named_modules())
    language = next(name for name, part in modules.items() if part is decoder_layers(whole))
    ignored = []
    for name in linears_outside(whole):
        parts = name.split(".")
        own = next(n for n in range(len(parts)) if not _is_inside(language, parts[: n + 1]))
        ignored.append(name if own == len(parts) - 1 else rf"re:.*\b{parts[own]}\..*")
    return list(dict.fromkeys(ignored))


def _is_inside(name: str, parts: list[str]) -> bool:
    return name.split(".")[: len(parts)] == parts


def write_checkpoint(
    source: Path,
    target: Path,
    language: Path,
    prefix: str,
    layer_path: Callable[[int], Path],
    files: Mapping[str, str],
) -> None:
    """Write a checkpoint with quantised layers.

    Args:
        source: the model's checkpoint.
        target: the folder to write.
        language: where in ``source`` the language model is, relative.
        prefix: how the names of its layers begin.
        layer_path: returns the file with a quantised layer's tensors.
        files: texts to write, by name relative to ``target``.
    """
    places: dict[str, str] = {}
    total = 0
    for path in sorted({path for pattern in CHECKPOINT_FILES for path in source.rglob(pattern)}):
        place = path.relative_to(source)
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        if place.parent == language and path.suffix == ".safetensors":
            written = _with_layers(path, prefix, layer_path)
            save_file(written, target / place, metadata={"format": "pt"})
            shutil.copymode(path, target / place)  # save_file lets only the owner read it
            places |= dict.fromkeys(written, place.name)
            total += sum(tensor.nbytes for tensor in written.values())
        else:
            shutil.copyfile(path, target / place)
    if (source / language / INDEX).exists():
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (target / language / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
    for name, text in files.items():
        (target / name).write_text(text, encoding="utf-8")


def _with_layers(
    source: Path, prefix: str, layer_path: Callable[[int], Path]
) -> dict[str, torch.Tensor]:
    """Return a file's tensors, with those of quantised layers replaced."""
    found: dict[str, torch.Tensor] = {}
    with safe_open(source, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
            match = _IN_LAYERS.match(name)
            replaced: dict[str, torch.Tensor] = {}
            if match and match.group(1) == prefix:
                inner = _replacements(layer_path(int(match.group(2))), match.group(3))
                beginning = name.removesuffix(match.group(3))
                replaced = {beginning + key: value for key, value in inner.items()}
            found |= replaced or {name: file.get_tensor(name)}
    return found


def _replacements(layer: Path, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a quantised layer that replace one tensor; none if it stays."""
    stem = name.removesuffix("weight")
    with safe_open(layer, framework="pt") as file:
        names = [
            key
            for key in file.keys()  # noqa: SIM118 - safe_open is not a mapping
            if key == name or (stem != name and key.startswith(f"{stem}weight_"))
        ]
        return {key: file.get_tensor(key) for key in names}


def config_text(source: Path, stored: Mapping[str, Any]) -> str:
    """Return a config.json that says how the weights are quantised."""
    return json.dumps({**read_config(source), STORED: stored}, indent=2) + "\n"
