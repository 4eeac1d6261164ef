"""torchao's weight-only float8 (e4m3), quantised while loading: one scale per row.

Weights are multiplied in the model's precision, so that no machine needs kernels for float8.
"""

from typing import ClassVar

from encodeonce.models.quantization.torchao import TorchAo


class TorchAoFp8(TorchAo):
    """No options."""

    display_name: ClassVar[str] = "torchao float8"
    name: ClassVar[str] = "torchao-fp8"
    config_class: ClassVar[str] = "Float8WeightOnlyConfig"


QUANTIZER = TorchAoFp8
