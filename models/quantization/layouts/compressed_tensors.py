"""compressed-tensors' ``pack-quantized``, as `encodeonce quantize` writes it.

Codes (O, I / 8) int32 hold eight inputs in order, lowest bits first; zeros (O / 8, G) hold eight
outputs. Both are stored as codes: the format's signed numbers plus half a grid.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import pad

from encodeonce.models.quantization.grid import Codes, Grid
from encodeonce.models.quantization.layout import Stored, int32_fields
from encodeonce.models.quantization.registry import WeightsError

FORMAT = "pack-quantized"


class PackQuantized:
    """4 or 8 bits in groups."""

    names = ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape")

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Refuse formats other than ``pack-quantized`` with one grid for all layers."""
        groups = list(settings.get("config_groups", {}).values())
        weights = groups[0].get("weights") or {} if len(groups) == 1 else {}
        if settings.get("format") != FORMAT or weights.get("num_bits") not in (4, 8):
            raise WeightsError(
                f"compressed-tensors in the format {settings.get('format')!r} with "
                f"{weights.get('num_bits')} bits is not what `encodeonce quantize` writes"
            )
        self._num_bits = int(weights["num_bits"])

    def unpack(self, stored: Stored) -> Codes:
        """Return a layer's rounded weights."""
        num_outputs, num_inputs = stored["weight_shape"].tolist()
        codes = int32_fields(stored["weight_packed"], self._num_bits).flatten(-2)
        scales = stored["weight_scale"]
        if "weight_zero_point" in stored:
            zeros = int32_fields(stored["weight_zero_point"].t(), self._num_bits).flatten(-2).t()
        else:
            zeros = torch.full_like(scales, 1 << (self._num_bits - 1))
        return Codes(
            codes=codes[:, :num_inputs].byte(), zeros=zeros[:num_outputs].byte(), scales=scales
        )


def pack(codes: Codes, grid: Grid) -> dict[str, torch.Tensor]:
    """Return a layer's tensors, by the last part of their names."""
    stored = {
        "weight_packed": _int32(codes.codes, grid.num_bits),
        "weight_scale": codes.scales,
        "weight_shape": torch.tensor(codes.codes.shape),
    }
    if not grid.symmetric:
        stored["weight_zero_point"] = _int32(codes.zeros.t(), grid.num_bits).t().contiguous()
    return {name: tensor.cpu() for name, tensor in stored.items()}


def _int32(codes: torch.Tensor, num_bits: int) -> torch.Tensor:
    """Return int32 numbers (R, C / (32 / bits)) that hold codes (R, C), padded with zeros."""
    num_fields = 32 // num_bits
    padded = pad(codes.long(), (0, -codes.shape[1] % num_fields)).unflatten(1, (-1, num_fields))
    shifts = torch.arange(0, 32, num_bits, device=codes.device)
    # Summed as int64, and cut to its lower half: the uppermost field may set int32's sign.
    return (padded << shifts).sum(-1).to(torch.int32)


LAYOUT = PackQuantized
