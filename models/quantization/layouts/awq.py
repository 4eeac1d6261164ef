"""AWQ's GEMM layout, as AutoAWQ writes it: (I, O / 8) int32, eight outputs in a special order.

Lin et al., AWQ, 2023 (arXiv:2306.00978). The order suits a CUDA kernel; scales are (G, O).
"""

from collections.abc import Mapping
from typing import Any

from encodeonce.models.quantization.grid import Codes
from encodeonce.models.quantization.layout import Stored, int32_fields
from encodeonce.models.quantization.registry import WeightsError

_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Output that each field holds, lowest bits first."""


class AwqGemm:
    """4 bits, GEMM."""

    names = ("qweight", "qzeros", "scales")

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Refuse layouts and widths other than GEMM's 4 bits."""
        version = str(settings.get("version") or settings.get("format") or "gemm").lower()
        num_bits = settings.get("bits", settings.get("w_bit", 4))
        if version != "gemm" or num_bits != 4:
            raise WeightsError(
                f"AWQ checkpoints are read in the GEMM layout with 4 bits; this one is {version} "
                f"with {num_bits}. Convert it, or quantise the model by `encodeonce quantize`."
            )

    def unpack(self, stored: Stored) -> Codes:
        """Return a layer's rounded weights."""
        codes_IO, zeros_GO = (
            int32_fields(stored[name], 4)[..., _POSITION].flatten(-2)
            for name in ("qweight", "qzeros")
        )
        return Codes(
            codes=codes_IO.t().contiguous().byte(),
            zeros=zeros_GO.t().contiguous().byte(),
            scales=stored["scales"].t().contiguous(),
        )


_POSITION = [_ORDER.index(output) for output in range(8)]

LAYOUT = AwqGemm
