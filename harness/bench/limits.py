"""Measures what one machine can do at most: multiply matrices, and read memory.

A step that reads b bytes and computes f operations takes at least max(b / bandwidth, f / rate): the
roofline model (Williams et al., 2009, doi:10.1145/1498765.1498785).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from encodeonce.models.timing import synchronize

_WIDTH = 2048
_ROWS = (16, 128, 1024)
"""Of products that are tried, the small ones first."""
_ENOUGH_S = 0.25
"""A product that takes as long is not made larger: some processors take minutes in 16 bits."""
_BANDWIDTH_BYTES = 256 * 2**20
"""More than caches hold."""
_REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one machine, with the threads that PyTorch has."""

    flops: float
    """Operations per second of a large matrix product; a multiplication and an addition are two."""
    bandwidth: float
    """Bytes per second, read."""

    def seconds(self, num_bytes: float, num_operations: float) -> float:
        """Return the least time for reading so much and computing so much."""
        return max(num_bytes / self.bandwidth, num_operations / self.flops)


def measure_limits(dtype: torch.dtype, device: torch.device) -> Limits:
    """Return the best of a few attempts, which others on the machine disturbed least."""
    numbers = torch.ones(_BANDWIDTH_BYTES // dtype.itemsize, dtype=dtype, device=device)
    return Limits(flops=_flops(dtype, device), bandwidth=numbers.nbytes / _least_s(numbers.sum))


def _flops(dtype: torch.dtype, device: torch.device) -> float:
    """Return the highest rate of a few products."""
    right = torch.randn(_WIDTH, _WIDTH, device=device).to(dtype)
    highest = 0.0
    for rows in _ROWS:
        left = torch.randn(rows, _WIDTH, device=device).to(dtype)
        least_s = _least_s(partial(torch.matmul, left, right))
        highest = max(highest, 2 * rows * _WIDTH * _WIDTH / least_s)
        if least_s > _ENOUGH_S:
            break
    return highest


def _least_s(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of a few runs, after one that is not counted."""
    found = []
    for _ in range(1 + _REPEATS):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        found.append(time.perf_counter() - start)
    return min(found[1:])
