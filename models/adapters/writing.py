"""Writes LoRA adapters as peft saves them, so that plain peft loads them."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from encodeonce.cache_store import durable
from encodeonce.models.adapters.checkpoint import WEIGHTS, LowRank
from encodeonce.models.adapters.form import LoraForm
from encodeonce.models.adapters.lora_config import CONFIG

_LAYER = re.compile(r"(.*\.)?layers\.(\d+)\.(.+)")


def write_adapter(folder: Path, products: Mapping[str, LowRank], form: LoraForm, base: str) -> None:
    """Write an adapter into a folder that has none.

    Args:
        folder: to write to; it exists.
        products: all of ``form``'s rank and scaling, by the layers' names in transformers' model.
        form: what the adapter is made of.
        base: the model's name or path.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, product in products.items():
        assert (product.rank, product.scaling) == (form.r, form.scaling)
        tensors[f"base_model.model.{name}.lora_A.weight"] = product.a.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = product.b.contiguous()
    durable.write_new(folder / WEIGHTS, save(tensors, {"format": "pt"}))
    durable.write_new(folder / CONFIG, config_text(products, form, base))


def config_text(names: Collection[str], form: LoraForm, base: str) -> bytes:
    """Return adapter_config.json of an adapter of the layers that are named."""
    fields = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": form.r,
        "lora_alpha": form.alpha,
        "lora_dropout": form.dropout,
        "use_rslora": form.rslora,
        "bias": "none",
        "target_modules": targets(names),
    }
    return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()


def targets(names: Collection[str]) -> str | list[str]:
    """Return peft's ``target_modules`` that mean layers of a language model, and nothing else.

    The ends of names alone (``q_proj``) would mean the vision tower's layers as well. A pattern of
    whole names, where every layer has the same linear layers; else all names.
    """
    found = [_LAYER.fullmatch(name) for name in names]
    parts = {match and (match[1] or "", match[3]) for match in found}
    before = {part[0] for part in parts if part}
    numbers = {int(match[2]) for match in found if match}
    is_even = len(parts) * len(numbers) == len(names) and numbers == set(range(len(numbers)))
    if None in parts or len(before) != 1 or not is_even:
        return sorted(names)
    rests = "|".join(re.escape(part[1]) for part in sorted(part for part in parts if part))
    return rf"{re.escape(before.pop())}layers\.\d+\.({rests})"
