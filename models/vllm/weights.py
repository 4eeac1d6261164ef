"""Weight variants as vLLM has them, or why it does not.

Quantised checkpoints say themselves how they are quantised. While loading, vLLM 0.32 quantises by
torchao, and by bitsandbytes where its plugin is installed.
"""

import json
import platform
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from encodeonce.models.checkpoint.files import read_config
from encodeonce.models.checkpoint.quantized_parts import stored_settings
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.spec import WeightsSpec

_PLUGIN = "vllm_bnb_plugin"
"""What registers bitsandbytes with vLLM, which has been without it since it became a plugin."""
_NO_PLUGIN = "vLLM reads bitsandbytes by a plugin, which is not installed: pip install {}"
_TORCHAO = ("torchao-fp8", "torchao-int8")
_WHY_NOT: Mapping[str, str] = {
    "bnb-fp4": "bitsandbytes under vLLM quantises to NF4 alone: write bnb-nf4",
    "bnb-int8": "vLLM reads 8-bit weights of bitsandbytes from checkpoints, and makes none: write "
    "torchao-int8, or {method: checkpoint, path: FOLDER}",
    "rtn": "vLLM rounds nothing while loading: write a checkpoint (encodeonce quantize --method "
    "rtn), and its path",
}


def why_not(weights: WeightsSpec, folder: Path, dtype: str) -> str | None:
    """Return why vLLM does not have a weight variant, and what to write; None where it does.

    Args:
        weights: the variant.
        folder: the checkpoint that holds it.
        dtype: the model's precision.
    """
    stored = stored_settings(read_config(folder)) or {}
    if stored.get("quant_method") == "bitsandbytes" and find_spec(_PLUGIN) is None:
        return _NO_PLUGIN.format(_PLUGIN.replace("_", "-"))
    if _holds_4_bits(stored) and _lacks_kernel():
        return "vLLM's kernel for 4-bit weights on a processor asks for AVX-512, which is not here"
    if weights.is_none or weights.path is not None:
        return _of_checkpoint(weights)
    if weights.method in _TORCHAO:
        return None
    if weights.method != "bnb-nf4":
        return _WHY_NOT.get(weights.method, "vLLM has no such method")
    if not weights.options.get("double_quant"):
        return (
            "vLLM has bitsandbytes quantise the scales too: write {method: bnb-nf4, options: "
            "{double_quant: true}}"
        )
    if dtype == "float32":
        return (
            "vLLM's plugin for bitsandbytes takes weights of 16 bits: write model.dtype: bfloat16"
        )
    return None if find_spec(_PLUGIN) else _NO_PLUGIN.format(_PLUGIN.replace("_", "-"))


def loading_arguments(weights: WeightsSpec) -> Mapping[str, Any]:
    """Return vLLM's arguments for a variant that `why_not` has nothing against."""
    if weights.is_none or weights.path is not None:
        return {}
    if weights.method not in _TORCHAO:
        return {"quantization": "bitsandbytes"}
    from torchao.core.config import config_to_dict  # type: ignore[import-untyped]

    quantizer: Any = load_quantizer(weights)
    settings = json.dumps(config_to_dict(quantizer.config()))
    return {
        "quantization": "torchao",
        "hf_overrides": {"quantization_config_dict_json": settings},
    }


def _holds_4_bits(settings: Any) -> bool:
    """Say whether a quantisation config, whatever its library, is of 4 bits; NF4 is unpacked."""
    if not isinstance(settings, Mapping) or settings.get("quant_method") == "bitsandbytes":
        return False
    return any(
        value == 4 if name in ("bits", "num_bits", "w_bit") else _holds_4_bits(value)
        for name, value in settings.items()
    )


def _lacks_kernel() -> bool:
    """Say whether vLLM would run on a processor for which it has no product with 4-bit weights."""
    capability = torch.backends.cpu.get_cpu_capability()
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    return is_x86 and not torch.cuda.is_available() and "AVX512" not in capability


def _of_checkpoint(weights: WeightsSpec) -> str | None:
    if not weights.options:
        return None
    return (
        "vLLM chooses the kernels for a quantised checkpoint: leave options away, or write engine: "
        "transformers"
    )
