"""torchao's weight-only int8, quantised while loading: one scale per row, activations untouched."""

from typing import ClassVar

from encodeonce.models.quantization.torchao import TorchAo


class TorchAoInt8(TorchAo):
    """No options."""

    display_name: ClassVar[str] = "torchao int8"
    name: ClassVar[str] = "torchao-int8"
    config_class: ClassVar[str] = "Int8WeightOnlyConfig"


QUANTIZER = TorchAoInt8
