"""Load weights with bitsandbytes, through transformers: quantised one by one while they are read.

Dettmers et al., LLM.int8(), 2022 (arXiv:2208.07339); QLoRA, 2023 (arXiv:2305.14314) for NF4.
"""

import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from encodeonce.models.checkpoint.decoder_layers import decoder_layers
from encodeonce.models.checkpoint.files import CheckpointError, device
from encodeonce.models.checkpoint.loading_hooks import ByTransformers
from encodeonce.models.quantization.checks import (
    layer_widths,
    refuse_path,
    refuse_quantised,
    require,
)
from encodeonce.models.quantization.method import Candidate
from encodeonce.models.quantization.registry import WeightsError

_CPU_INPUTS, _CPU_OUTPUTS = 64, 32
"""What a 4-bit weight's widths must be multiples of on CPUs with AVX512-BF16, whose kernel takes
blocks of 64 inputs and tiles of 32 outputs (bitsandbytes 0.50)."""

_KERNELS = "kernels"
"""If this is installed, importing bitsandbytes on some CPUs downloads a kernel and loads it."""


def _bitsandbytes() -> Any:
    """Import bitsandbytes, without the kernel that it would fetch from the hub and run."""
    # One reports for every multiplication that float32 is cast to float16, the other that there
    # is no package to fetch kernels with.
    for name in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if "bitsandbytes" not in sys.modules:
        with _without(_KERNELS):
            importlib.import_module("bitsandbytes")
    return sys.modules["bitsandbytes"]


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Make importing a module fail within the block."""
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before


def check_bnb(candidate: Candidate, method: str) -> None:
    """Refuse what bitsandbytes cannot quantise here."""
    refuse_path(candidate, method)
    refuse_quantised(candidate, method)
    require_bnb(candidate, f"weights {method!r}")


def require_bnb(candidate: Candidate, why: str) -> None:
    """Refuse a machine without bitsandbytes, or a device that it has no kernels for."""
    require("bitsandbytes", "bitsandbytes", why)
    kind = device(candidate.model).type
    supported: set[str] = _bitsandbytes().supported_torch_devices
    if kind not in supported:
        raise WeightsError(
            f"{why}: bitsandbytes has no kernels for {kind!r}; it has for "
            f"{', '.join(sorted(supported))}. Set model.device."
        )


def check_4bit(candidate: Candidate, method: str) -> None:
    """Refuse widths that the CPU's 4-bit kernel cannot take."""
    if device(candidate.model).type != "cpu":
        return
    if not _bitsandbytes().functional.has_avx512bf16():
        return
    for name, inputs, outputs in layer_widths(candidate):
        if inputs % _CPU_INPUTS or outputs % _CPU_OUTPUTS:
            raise WeightsError(
                f"weights {method!r}: on this CPU bitsandbytes' 4-bit kernel needs inputs in "
                f"multiples of {_CPU_INPUTS} and outputs of {_CPU_OUTPUTS}; {name} has {inputs} "
                f"and {outputs}. Use bnb-int8, torchao-int8 or rtn, or a GPU."
            )


def four_bit(candidate: Candidate, kind: Literal["nf4", "fp4"], double: bool) -> ByTransformers:
    """Return how weights are loaded in 4 bits, in blocks of 64."""
    return Bnb(
        lambda skipped: BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=kind,
            bnb_4bit_use_double_quant=double,
            bnb_4bit_compute_dtype=getattr(torch, candidate.model.dtype),
            llm_int8_skip_modules=skipped,
        )
    )


def eight_bit(threshold: float) -> ByTransformers:
    """Return how weights are loaded in 8 bits, by row."""
    return Bnb(
        lambda skipped: BitsAndBytesConfig(
            load_in_8bit=True, llm_int8_threshold=threshold, llm_int8_skip_modules=skipped
        )
    )


class Bnb(ByTransformers):
    """Quantised while read; refuses to be saved once it has computed."""

    def arguments(
        self, skeleton: Callable[[], nn.Module], device: torch.device
    ) -> Mapping[str, Any]:
        """Name the device, and the modules that stay as they are."""
        _bitsandbytes()
        return super().arguments(skeleton, device)

    def finish(self, model: Any, device: torch.device) -> None:
        """Refuse, from now on, to write weights that a kernel has rearranged."""
        for layer in decoder_layers(model):
            for part in layer.modules():
                part.register_state_dict_pre_hook(_refuse_rearranged)


def _refuse_rearranged(module: nn.Module, prefix: str, keep_vars: bool) -> None:
    """On a CPU the first forward rearranges 4-bit weights, and the way back is not exact."""
    state = getattr(getattr(module, "weight", None), "quant_state", None)
    if getattr(state, "packing_format_for_cpu", False):
        raise CheckpointError(
            f"{prefix}weight was rearranged by bitsandbytes' CPU kernel when it first computed; "
            "writing it now would not give the same weights back. Load the model again and write "
            "it before it computes."
        )
