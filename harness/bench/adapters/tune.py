"""Measures which way of adding products is fastest, by shape: `models/adapters/dispatch.py`."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from encodeonce.harness.bench.machine import hardware
from encodeonce.models.adapters.checkpoint import LowRank
from encodeonce.models.adapters.dispatch import (
    DispatchTable,
    Machine,
    Point,
    Shape,
    machine_of,
)
from encodeonce.models.adapters.operators import KINDS, Kind, Stack, offers, stacked
from encodeonce.models.language.adapting import AdaptedRows
from encodeonce.models.timing import synchronize

NUM_RUNS = 5


def this_machine(dtype: torch.dtype) -> Machine:
    """Return this machine, as tables name it."""
    return machine_of(hardware()["device"], dtype)


def tune(
    widths: Sequence[tuple[int, int, int]],
    num_tokens: Sequence[int],
    max_rows: int,
    dtype: torch.dtype,
    device: torch.device,
    on_run: Callable[[str], None],
) -> DispatchTable:
    """Measure all ways at powers of two.

    Args:
        widths: (R, I, O) of a model's adapted layers.
        num_tokens: of each row: 1 for decode steps, more for prompts.
        max_rows: most rows of a batch.
        dtype: of the model.
        device: where it is.
        on_run: called before each shape, with its words.
    """
    machine = this_machine(dtype)
    points = []
    for rank, inputs, outputs in dict.fromkeys(widths):
        for tokens in dict.fromkeys(num_tokens):
            for rows in _powers(max_rows):
                for some in _powers(rows):
                    shape = (rows * tokens, some, rank, inputs, outputs)
                    on_run(f"tuning {' x '.join(map(str, shape))}")
                    seconds = _measured(shape, rows, tokens, dtype, device)
                    points.append(Point(shape=shape, seconds=seconds))
    return DispatchTable(
        device=machine.device, torch=machine.torch, dtype=machine.dtype, points=tuple(points)
    )


def _measured(
    shape: Shape, num_rows: int, num_tokens: int, dtype: torch.dtype, device: torch.device
) -> dict[Kind, float]:
    """Return the median seconds of each way, interleaved, after a round that does not count."""
    _, some, rank, inputs, outputs = shape
    stack = _stack(some, rank, inputs, outputs, device)
    rows = AdaptedRows([row * some // num_rows for row in range(num_rows)])
    x = torch.randn(num_rows, num_tokens, inputs, device=device)
    y = torch.randn(num_rows, num_tokens, outputs, device=device).to(dtype)
    found: dict[Kind, list[float]] = {kind: [] for kind in KINDS if offers(kind, stack)}
    for number in range(1 + NUM_RUNS):
        for kind, taken in found.items():
            synchronize()
            start = time.perf_counter()
            KINDS[kind](stack, rows, x, y)
            synchronize()
            if number:
                taken.append(time.perf_counter() - start)
    return {kind: statistics.median(taken) for kind, taken in found.items()}


def _stack(count: int, rank: int, inputs: int, outputs: int, device: torch.device) -> Stack:
    products = {
        number: LowRank(
            a=torch.randn(rank, inputs), b=torch.randn(outputs, rank), bias=None, scaling=1.0
        )
        for number in range(count)
    }
    return stacked(products, device)


def _powers(most: int) -> Iterator[int]:
    power = 1
    while power <= most:
        yield power
        power *= 2
