"""Merges an adapter into its base: a whole checkpoint that any program loads.

Adapters of the vision tower, or of a projector behind which features are stored, become usable this
way: the merged checkpoint's tower has a digest of its own, and so its features have their own keys.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from encodeonce.models.adapters.checkpoint import (
    ADAPTER_FILES,
    Adapter,
    LowRank,
    adapter_folder,
    read_adapter,
)
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.sites import HEAD, OUTSIDE, Sites, check_shapes
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.files import CHECKPOINT_FILES, local_checkpoint, read_config
from encodeonce.models.checkpoint.loading import check_loaded, without_bars
from encodeonce.models.spec import ModelSpec

ORIGIN = "encodeonce_merged.json"
"""What a merged checkpoint was made of, beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A checkpoint with an adapter in its weights."""

    folder: Path
    modules: tuple[str, ...]
    """The layers that changed, by their names in transformers' model."""


@without_bars()
def merge_adapter(spec: AdapterSpec, model: ModelSpec, output: Path) -> Merged:
    """Write a checkpoint whose weights are W + scaling B A.

    Sums are computed in float32 and rounded once, to the precision in which the base is stored.
    Where that is bfloat16, the result is another model than base and adapter side by side, by about
    a rounding of each weight.

    Args:
        spec: the adapter.
        model: its base; ``dtype`` and ``device`` are not used.
        output: folder to write, which does not exist or is empty.

    Raises:
        AdapterError: the adapter is not handled, does not fit the base, or the base is quantised.
        CheckpointError: there is no such base.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise AdapterError(f"{output} is not empty; give another folder, or remove it")
    adapter, folder = read_adapter(spec), local_checkpoint(model)
    if "quantization_config" in read_config(folder):
        raise AdapterError(
            f"{folder} is quantised, and a sum would have to be quantised anew: merge the adapter "
            "into the model that it was made from, then quantise that"
        )
    adapter.refuse_activated("it cannot be merged")
    whole = _whole(folder)
    found = _sites(whole, adapter)
    for module, product in found.values():
        _add(module, product)
    unfinished = output.parent / f".{output.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    whole.save_pretrained(unfinished)
    _copy_others(folder, unfinished)
    origin = _origin(spec, model, list(found))
    (unfinished / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    (unfinished / "README.md").write_text(_card(origin), encoding="utf-8")
    if output.exists():
        output.rmdir()
    unfinished.rename(output)
    return Merged(folder=output, modules=tuple(found))


def _whole(folder: Path) -> Any:
    try:
        found: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype="auto", output_loading_info=True, local_files_only=True
        )
    except (ValueError, OSError) as error:
        raise AdapterError(
            f"{folder} cannot be merged into: transformers does not load it whole without code of "
            f"the checkpoint's own ({error})"
        ) from error
    whole, info = found
    check_loaded(str(folder), info)
    return whole.eval().requires_grad_(False)


def _sites(whole: Any, adapter: Adapter) -> dict[str, tuple[nn.Module, LowRank]]:
    """Return an adapter's modules in a whole model, by their names.

    Raises:
        AdapterError: the model has no such module, or shares its weights with another.
    """
    known = dict(whole.named_modules())
    names = {id(module): name for name, module in known.items()}
    sites = Sites(whole)
    found: dict[str, tuple[nn.Module, LowRank]] = {}
    for path, product in adapter.products.items():
        name = path if path in known else _vision_name(path, known)
        if name is None:
            name = names[id(sites.at(adapter, path)[1])]
        check_shapes(adapter, path, known[name], product)
        if name.rpartition(".")[2] == HEAD and (
            known[name].weight is whole.get_input_embeddings().weight
        ):
            raise AdapterError(
                f"{adapter.file} adapts {path}, which shares its weights with the embeddings: "
                "merged, the embeddings would change as well. Answer under the adapter instead "
                "(adapters: in a run file)"
            )
        found[name] = known[name], product
    return found


def _vision_name(path: str, known: Mapping[str, nn.Module]) -> str | None:
    """Return the module of a tower or projector that a path means: the only one with its end.

    transformers 4 and 5 differ in what stands before the parts of a model.
    """
    parts = path.split(".")
    last = max((n for n, part in enumerate(parts) if part in OUTSIDE), default=None)
    if last is None:
        return None
    end = ".".join(["", *parts[last + 1 :]])
    names = [name for name in known if name.endswith(end) and OUTSIDE & set(name.split("."))]
    return names[0] if len(names) == 1 else None


def _add(module: Any, product: LowRank) -> None:
    with torch.no_grad():
        total = module.weight.float() + product.scaling * (product.b @ product.a)
        module.weight.copy_(total)
        if product.bias is not None:
            before = 0.0 if module.bias is None else module.bias.float()
            bias = (before + product.scaling * product.bias).to(module.weight.dtype)
            module.bias = nn.Parameter(bias, requires_grad=False)


def _copy_others(source: Path, target: Path) -> None:
    """Copy what a checkpoint has besides its weights: tokenizer, processor, template."""
    for path in sorted({path for pattern in CHECKPOINT_FILES for path in source.glob(pattern)}):
        is_weights = path.suffix == ".safetensors" or path.name.endswith(".safetensors.index.json")
        if not is_weights and not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)


def _origin(spec: AdapterSpec, model: ModelSpec, modules: list[str]) -> dict[str, Any]:
    folder = adapter_folder(spec)
    return {
        "base": model.path,
        "adapter": spec.title,
        "adapter_files": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ADAPTER_FILES
        },
        "modules": modules,
    }


def _card(origin: dict[str, Any]) -> str:
    files = "\n".join(f"- {name}: `{digest}`" for name, digest in origin["adapter_files"].items())
    return f"""---
base_model: {origin["base"]}
---

# {origin["base"]} with the adapter {origin["adapter"]}

The adapter is added to the weights of {len(origin["modules"])} layers ({ORIGIN} names them). Its \
files have the digests:

{files}
"""
