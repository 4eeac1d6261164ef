"""Attention over entries as they are stored, in 8 or 4 bits, of lengths that differ by head.

PyTorch's kernels want keys and values in the queries' precision: they would read a copy that has to
be made at every step, two to eight times as large as what is stored. FlexAttention's functions see
scores, not the channels that scales belong to. With Triton the copy is made tile by tile inside the
kernel (`quantised_triton.py`), and the entries are split among programs whose results are joined as
parts. Without Triton, the entries are copied.

The kernel is used on a GPU once it has agreed there with the copy, for each precision and width.

Shapes: U heads, M queries, S entries, D width.
"""

import logging
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch

from encodeonce.models.kv.kernels.parts import Part, attend_part, bias_of, union
from encodeonce.models.kv.storage import Precision, Quantised, Storage, store

logger = logging.getLogger(__name__)

QuantisedKernel = Literal["triton", "copy"]
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""By precision: of outputs that are means of numbers from a normal distribution."""


def attend_quantised(
    queries: torch.Tensor,
    keys: Quantised,
    values: Quantised,
    starts: torch.Tensor,
    scaling: float,
) -> list[Part]:
    """Return the attention of queries over quantised entries, in parts to be joined.

    A head's parts may be empty (-inf as logarithm) as long as not all are.

    Args:
        queries: (U, 1, M, D).
        keys: of the U heads.
        values: likewise.
        starts: (U,) the first entry of each head; those before it are filling.
        scaling: of the products.
    """
    from encodeonce.models.kv.kernels.quantised_triton import launch  # needs Triton

    contiguous = queries[:, 0].contiguous()
    wanted = _num_programs(queries.device)
    outputs, log_sums = launch(contiguous, keys, values, starts, scaling, wanted)
    return [
        Part(output[:, None], log_sum[:, None])
        for output, log_sum in zip(outputs, log_sums, strict=True)
    ]


@cache
def quantised_kernel(device: torch.device, dtype: torch.dtype, width: int) -> QuantisedKernel:
    """Return what attends to quantised entries.

    Args:
        device: where the tensors are.
        dtype: of queries and new entries.
        width: of a head.
    """
    if device.type != "cuda" or find_spec("triton") is None or dtype not in _TOLERANCE:
        return "copy"
    try:
        difference = max(
            largest_difference(device, dtype, width, bits) for bits in ("int8", "int4")
        )
    except Exception as error:  # whatever a compiler, a driver or a GPU may raise
        logger.warning("quantised entries are copied: Triton's kernel failed: %s", error)
        return "copy"
    if difference <= _TOLERANCE[dtype]:  # false if it is not a number
        return "triton"
    logger.warning("quantised entries are copied: Triton's kernel is off by %.2g", difference)
    return "copy"


def largest_difference(
    device: torch.device, dtype: torch.dtype, width: int, precision: Precision
) -> float:
    """Return by how much the kernel's output differs from attention over a copy; synchronises.

    Args:
        device: to try it on.
        dtype: of queries and entries.
        width: of a head.
        precision: of the entries.
    """
    chance = torch.Generator().manual_seed(0)
    lengths, num_queries = (300, 41, 297), 5
    states = [
        [torch.randn(1, length, width, generator=chance).to(device, dtype) for length in lengths]
        for _ in range(2)
    ]
    keys, values = (
        store(pieces, 0, precision, axis)
        for pieces, axis in zip(states, ("channel", "token"), strict=True)
    )
    queries = torch.randn(len(lengths), 1, num_queries, width, generator=chance).to(device, dtype)
    starts = torch.tensor([max(lengths) - length for length in lengths], device=device)
    assert keys.quantised is not None and values.quantised is not None
    found = attend_quantised(queries, keys.quantised, values.quantised, starts, width**-0.5)
    expected = over_a_copy(queries, keys, values, starts, width**-0.5)
    return float((union(found).float() - expected.output.float()).abs().max())


def over_a_copy(
    queries: torch.Tensor, keys: Storage, values: Storage, starts: torch.Tensor, scaling: float
) -> Part:
    """Return what `attend_quantised` is to find, by a copy of the entries; for its arguments."""
    one, other = keys.read(0)[:, None], values.read(0)[:, None]
    places = torch.arange(one.shape[2], device=queries.device)
    bias = bias_of((places >= starts[:, None])[:, None, None], queries.dtype)
    return attend_part(queries, one, other, scaling, bias)


@cache
def _num_programs(device: torch.device) -> int:
    """Return how many programs keep a device busy."""
    if device.type != "cuda":
        return 16
    return 4 * torch.cuda.get_device_properties(device).multi_processor_count
