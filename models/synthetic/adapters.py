"""Random LoRA adapters, all different, in peft's format: to measure on, not to score."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.decoder_layers import decoder_layers

STRENGTH = 0.2
"""Spread of what an adapter adds to a weight, relative to the weights' own."""


def write_random_adapters(folder: Path, model: Any, count: int, rank: int) -> Sequence[AdapterSpec]:
    """Write adapters of all linear layers in a model's decoder layers.

    Args:
        folder: gets a folder for each, which is created if missing.
        model: of transformers, without its tower.
        count: how many.
        rank: of each; half of them have half of it, rounded up.
    """
    names = {id(part): name for name, part in model.named_modules()}
    linears = {
        names[id(part)]: part
        for part in decoder_layers(model).modules()
        if isinstance(getattr(part, "in_features", None), int)
    }
    found = []
    for number in range(count):
        own = rank if number % 2 == 0 else -(-rank // 2)
        target = folder / f"random-{number}"
        target.mkdir(parents=True, exist_ok=True)
        save_file(_factors(linears, own, seed=number), target / "adapter_model.safetensors")
        config = _config(own, sorted({name.rpartition(".")[2] for name in linears}))
        (target / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        found.append(AdapterSpec(path=str(target)))
    return found


def _config(rank: int, targets: Sequence[str]) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(targets),
    }


def _factors(linears: dict[str, Any], rank: int, seed: int) -> dict[str, torch.Tensor]:
    """Return factors whose product is spread as `STRENGTH` says."""
    noise = torch.Generator().manual_seed(seed)
    found = {}
    for name, module in linears.items():
        inputs, outputs = module.in_features, module.out_features
        weight = module.weight
        is_plain = weight.is_floating_point() and weight.shape == (outputs, inputs)
        spread = float(weight.float().std()) if is_plain else inputs**-0.5
        a = torch.randn(rank, inputs, generator=noise) * rank**-0.5
        b = torch.randn(outputs, rank, generator=noise) * STRENGTH * spread
        found[f"base_model.model.{name}.lora_A.weight"] = a
        found[f"base_model.model.{name}.lora_B.weight"] = b
    return found
