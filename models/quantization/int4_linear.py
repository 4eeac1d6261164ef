"""A linear layer on PyTorch's own 4-bit weights: it needs no other library.

Made for a few rows at a time, as in generation; long prompts are slower than with dense weights.

Shapes: N rows, O outputs, I inputs, G groups per row.
"""

from collections.abc import Iterator

import torch
from torch import nn

from encodeonce.models.checkpoint.files import device
from encodeonce.models.quantization.grid import Codes
from encodeonce.models.quantization.method import Candidate
from encodeonce.models.quantization.registry import WeightsError

_GROUP_SIZES = (32, 64, 128, 256)
_INNER_TILES = 8
"""Parameter of the CUDA kernel, which reads runs of 8 * 16 inputs."""
_OUTPUTS = {"cpu": 16, "cuda": 8}
"""The number of a weight's outputs must be a multiple of this."""
_AMPERE = (8, 0)


def check_int4(
    candidate: Candidate, group_size: int, widths: Iterator[tuple[str, int, int]]
) -> None:
    """Refuse a machine, a precision or a shape that the kernel is not made for.

    Args:
        candidate: what will be loaded.
        group_size: inputs that share a scale.
        widths: name, inputs and outputs of the layers that are quantised.
    """
    problems = []
    where = device(candidate.model)
    if where.type not in _OUTPUTS:
        problems.append(f"device {where.type} (it runs on cpu and cuda)")
    if group_size not in _GROUP_SIZES:
        problems.append(f"groups of {group_size} (it takes {', '.join(map(str, _GROUP_SIZES))})")
    if where.type == "cuda" and torch.cuda.get_device_capability(where) < _AMPERE:
        problems.append("this GPU (it needs compute capability 8.0)")
    # Other precisions run on a CPU, but forty times slower than dense weights.
    if candidate.model.dtype != "bfloat16":
        problems.append(f"dtype {candidate.model.dtype} (it computes in bfloat16)")
    multiple = 16 * _INNER_TILES if where.type == "cuda" else group_size
    for name, inputs, outputs in widths:
        if inputs % multiple or outputs % _OUTPUTS.get(where.type, 1):
            problems.append(f"{name} with {inputs} inputs and {outputs} outputs")
    if problems:
        raise WeightsError(
            f"kernel 'int4' cannot take {'; '.join(problems)}. Write kernel: dense, which computes "
            "the same weights in the model's precision."
        )


class Int4Linear(nn.Module):
    """Weights of 4 bits. Differs from the dense layer only by rounding."""

    def __init__(
        self, codes: Codes, bias: torch.Tensor | None, dtype: torch.dtype, where: torch.device
    ) -> None:
        """Arrange rounded weights as the device's kernel reads them."""
        super().__init__()
        assert codes.groups is None, "groups are runs of inputs"
        self.out_features, self.in_features = codes.codes.shape
        self.group_size = codes.group_size
        scales = codes.scales.float()
        # The kernel computes (code - 8) * scale + zero.
        shifts = (8 - codes.zeros.float()) * scales
        self.register_buffer("packed", _arranged(codes.codes.to(where)), persistent=False)
        self.register_buffer(
            "scales_GO2",
            torch.stack([scales.t(), shifts.t()], -1).contiguous().to(where, dtype),
            persistent=False,
        )
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., O) of (..., I)."""
        kernel = (
            torch.ops.aten._weight_int4pack_mm_for_cpu
            if x.device.type == "cpu"
            else torch.ops.aten._weight_int4pack_mm
        )
        rows_NI = x.reshape(-1, self.in_features)
        result = kernel(rows_NI, self.packed, self.group_size, self.scales_GO2)
        if self.bias is not None:
            result = result + self.bias
        return torch.as_tensor(result).reshape(*x.shape[:-1], self.out_features)


def _arranged(codes: torch.Tensor) -> torch.Tensor:
    """Return codes (O, I) as the kernel of their device reads them."""
    if codes.device.type == "cpu":
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
    else:
        pairs = (codes[:, ::2] << 4) | codes[:, 1::2]  # two inputs per byte, the first one high
        packed = torch.ops.aten._convert_weight_to_int4pack(pairs.contiguous(), _INNER_TILES)
    return torch.as_tensor(packed)
