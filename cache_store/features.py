"""Features of some units: named arrays whose first axis is the unit.

Shapes: U units, P patches (or tokens) per unit, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

MAIN = "main"
"""Name of the array every family stores; further ones (deepstack levels) have their own names."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
}


@dataclass(frozen=True, slots=True)
class Features:
    """Named arrays of shape (U, ...), the same U in each; usually ``main`` of (U, P, D)."""

    arrays: Mapping[str, np.ndarray[Any, np.dtype[Any]]]

    def __post_init__(self) -> None:
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if MAIN not in lengths or len(set(lengths.values())) != 1:
            raise ValueError(f"arrays need a {MAIN!r} and one common number of units: {lengths}")
        for name, array in self.arrays.items():
            if array.dtype not in DTYPES.values():
                raise ValueError(f"{name}: dtype {array.dtype}; allowed: {', '.join(DTYPES)}")

    @property
    def num_units(self) -> int:
        """Length of the first axis."""
        return len(self.arrays[MAIN])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, uncompressed."""
        return sum(array.nbytes for array in self.arrays.values())
