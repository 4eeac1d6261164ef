"""GPTQ's layout, as AutoGPTQ writes it: (I / 8, O) int32, eight inputs in order.

Frantar et al., GPTQ, 2022 (arXiv:2210.17323). Scales are (G, O). ``g_idx`` names the group of each
input; with ``desc_act`` groups are not runs of inputs.
"""

from collections.abc import Mapping
from typing import Any

import torch

from encodeonce.models.quantization.grid import Codes
from encodeonce.models.quantization.layout import Stored, int32_fields
from encodeonce.models.quantization.registry import WeightsError

_OFFSETS = {"gptq": 1, "gptq_v2": 0}
"""What has to be added to stored zeros, by format."""


class Gptq:
    """4 or 8 bits."""

    names = ("qweight", "qzeros", "scales", "g_idx")

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Refuse kernels' own layouts, and widths that do not fill an int32."""
        kind = str(settings.get("checkpoint_format") or settings.get("format") or "gptq").lower()
        self._num_bits = int(settings.get("bits", 4))
        if kind not in _OFFSETS or self._num_bits not in (4, 8):
            raise WeightsError(
                f"GPTQ checkpoints are read with 4 or 8 bits as {' or '.join(_OFFSETS)}; this one "
                f"has {self._num_bits} bits as {kind}. Convert it, or quantise the model by "
                "`encodeonce quantize`."
            )
        self._offset = _OFFSETS[kind]
        self._symmetric = bool(settings.get("sym", False))

    def unpack(self, stored: Stored) -> Codes:
        """Return a layer's rounded weights."""
        codes = int32_fields(stored["qweight"].t(), self._num_bits).flatten(-2)
        zeros = int32_fields(stored["qzeros"], self._num_bits).flatten(-2).t()
        groups = stored.get("g_idx")
        return Codes(
            codes=codes.byte(),
            zeros=self._settled(zeros).byte(),
            scales=stored["scales"].t().contiguous(),
            groups=None if groups is None or _is_runs(groups) else groups.long(),
        )

    def _settled(self, zeros: torch.Tensor) -> torch.Tensor:
        middle = 1 << (self._num_bits - 1)
        # Some writers say gptq and store zeros as gptq_v2 does (vllm#38966); a symmetric grid's
        # zero is known.
        if self._symmetric and bool(((zeros == middle) | (zeros == middle - 1)).all()):
            return torch.full_like(zeros, middle)
        # One more than the largest value is 0: that zero was stored as -1.
        return (zeros + self._offset) & ((1 << self._num_bits) - 1)


def _is_runs(groups: torch.Tensor) -> bool:
    return bool((groups.diff() >= 0).all())


LAYOUT = Gptq
