"""Formats the cells of the measurements' tables."""

import statistics
from collections.abc import Sequence

from encodeonce.harness.report.numbers import human_bytes

ABSENT = "-"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the median with the range: ``0.523 (0.511–0.602)``."""
    low, middle, high = (f"{f(values):.{digits}f}" for f in (min, statistics.median, max))
    return f"{middle} ({low}–{high})"


def times(ratio: float | None) -> str:
    """Return a factor: ``1.52x``."""
    return ABSENT if ratio is None else f"{ratio:.2f}x"


def bytes_or_absent(num_bytes: int | None) -> str:
    """Return a size; a dash where the system does not report one."""
    return ABSENT if num_bytes is None else human_bytes(num_bytes)
