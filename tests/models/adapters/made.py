"""Adapters as peft writes them, made without peft."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from encodeonce.models.adapters.checkpoint import Adapter, read_adapter
from encodeonce.models.adapters.spec import AdapterSpec

PLAIN: Mapping[str, Any] = {
    "peft_type": "LORA",
    "task_type": None,
    "peft_version": "0.21.2",
    "base_model_name_or_path": "a/model",
    "inference_mode": True,
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "bias": "none",
    "fan_in_fan_out": False,
    "use_rslora": False,
    "use_dora": False,
    "lora_bias": False,
    "init_lora_weights": True,
    "modules_to_save": None,
    "target_modules": ["q_proj"],
    "rank_pattern": {},
    "alpha_pattern": {},
    "loftq_config": {},
    "qalora_group_size": 16,
    "megatron_core": "megatron.core",
}
"""What peft writes for a plain LoRA."""


def factors(
    widths: Mapping[str, tuple[int, int]], rank: int = 4, seed: int = 0, size: float = 0.3
) -> dict[str, torch.Tensor]:
    """Return random factors by peft's names, given (inputs, outputs) by the modules' paths."""
    noise = torch.Generator().manual_seed(seed)
    found = {}
    for path, (inputs, outputs) in widths.items():
        key = f"base_model.model.{path}.lora"
        found[f"{key}_A.weight"] = size * torch.randn(rank, inputs, generator=noise)
        found[f"{key}_B.weight"] = size * torch.randn(outputs, rank, generator=noise)
    return found


def write(folder: Path, weights: Mapping[str, torch.Tensor], **fields: Any) -> Path:
    """Write an adapter; ``fields`` of its configuration take the place of `PLAIN`'s."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**PLAIN, **fields}), encoding="utf-8")
    save_file(dict(weights), folder / "adapter_model.safetensors")
    return folder


def read(folder: Path) -> Adapter:
    """Read an adapter."""
    return read_adapter(AdapterSpec(path=str(folder)))


def widths_of(model: Any, ends: Iterable[str], prefix: str) -> dict[str, tuple[int, int]]:
    """Return (inputs, outputs) of the linear layers in the decoder's layers with these names."""
    layers: nn.ModuleList = model.get_decoder().layers
    return {
        f"{prefix}layers.{name}": (part.in_features, part.out_features)
        for name, part in layers.named_modules()
        if name.rpartition(".")[2] in set(ends)
    }
