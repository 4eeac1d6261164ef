"""Times the kernels that attend to caches at a decode step's shapes: `python -m tests.gpu.ratios`.

Each line is a kernel, its microseconds, and how many times as fast it is as the first of its shape.
Runs on whatever device PyTorch has; the precision is bfloat16 on a GPU, float32 on a processor.
"""

from collections.abc import Callable, Iterator

import torch
from torch.backends import cuda
from torch.utils.benchmark import Timer

from encodeonce.harness.bench.machine import hardware
from encodeonce.models.kv.kernels import quantised
from encodeonce.models.kv.kernels.parts import _KERNELS, PartKernel, union
from encodeonce.models.kv.storage import Precision, store
from tests.gpu.shapes import PARTS, PartCase

Work = Callable[[], object]
Ways = Iterator[tuple[str, Work]]
NUM_HEADS, NUM_ENTRIES, NUM_QUERIES, WIDTH = 16 * 8, 1024, 4, 128
"""Sixteen rows of a model with eight key heads and 32 query heads."""


def part_ways(case: PartCase, device: torch.device, dtype: torch.dtype) -> Ways:
    """Yield the kernels that can attend to a part."""
    queries, keys, values, bias = case.tensors(device, dtype)
    names: list[PartKernel] = ["products"]
    if device.type == "cpu":
        names.append("flash_cpu")
    else:
        asked = cuda.SDPAParams(queries, keys, values, bias, 0.0, False, False)
        if bias is None and cuda.can_use_flash_attention(asked):
            names.append("flash")
        names.append("efficient")
    for name in names:
        work = _KERNELS[name]
        yield (
            name,
            lambda work=work: work(queries, keys, values, case.width**-0.5, bias),  # type: ignore[misc]
        )


def quantised_ways(precision: Precision, device: torch.device, dtype: torch.dtype) -> Ways:
    """Yield the ways to attend to quantised entries, of lengths that differ by head."""
    lengths = [NUM_ENTRIES - 3 * head % (NUM_ENTRIES // 9) for head in range(NUM_HEADS)]
    keys, values = (
        store([torch.randn(1, n, WIDTH).to(device, dtype) for n in lengths], 0, precision, axis)
        for axis in ("channel", "token")
    )
    queries = torch.randn(NUM_HEADS, 1, NUM_QUERIES, WIDTH).to(device, dtype)
    starts = torch.tensor([max(lengths) - n for n in lengths], device=device)
    stored = keys.quantised, values.quantised
    assert stored[0] is not None and stored[1] is not None
    yield "copy", lambda: quantised.over_a_copy(queries, keys, values, starts, WIDTH**-0.5)
    if quantised.quantised_kernel(device, dtype, WIDTH) == "triton":
        entries = (stored[0], stored[1])
        yield (
            "triton",
            lambda: union(quantised.attend_quantised(queries, *entries, starts, WIDTH**-0.5)),
        )


def report(title: str, ways: Ways) -> None:
    """Print a line for each way."""
    first = None
    print(title)  # noqa: T201
    with torch.inference_mode():
        for name, work in ways:
            seconds = Timer("work()", globals={"work": work}).blocked_autorange().median
            first = first or seconds
            print(f"  {name:<10} {1e6 * seconds:10.1f} us {first / seconds:7.2f}x")  # noqa: T201


def main() -> None:
    """Time everything."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    print(f"{hardware()['device']}, {dtype}, PyTorch {torch.__version__}")  # noqa: T201
    for case in PARTS:
        report(case.name, part_ways(case, device, dtype))
    precisions: tuple[Precision, ...] = "int8", "int4"
    for precision in precisions:
        title = f"{NUM_HEADS} heads of up to {NUM_ENTRIES} entries, {precision}"
        report(title, quantised_ways(precision, device, dtype))


if __name__ == "__main__":
    main()
