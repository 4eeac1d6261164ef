"""Least squares under the condition that no coefficient is negative.

The active-set method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23).
"""

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

_TOLERANCE = 1e-10


def nnls(A: Floats, b: Floats) -> Floats:
    """Return the x >= 0 that minimises |A x - b|.

    Args:
        A: (m, n).
        b: (m,).
    """
    num_columns = A.shape[1]
    x = np.zeros(num_columns)
    is_free = np.zeros(num_columns, dtype=bool)
    for _ in range(3 * num_columns):
        slope = A.T @ (b - A @ x)
        slope[is_free] = -np.inf
        best = int(slope.argmax())
        if slope[best] <= _TOLERANCE * max(1.0, float(np.abs(A.T @ b).max())):
            break
        is_free[best] = True
        while True:
            wanted = np.zeros(num_columns)
            wanted[is_free] = np.linalg.lstsq(A[:, is_free], b, rcond=None)[0]
            if (wanted[is_free] > 0).all():
                x = wanted
                break
            # As far towards the wanted point as no coefficient turns negative.
            falling = is_free & (wanted <= 0)
            step = (x[falling] / np.maximum(x[falling] - wanted[falling], 1e-300)).min()
            x = x + step * (wanted - x)
            is_free &= x > _TOLERANCE
            x[~is_free] = 0.0
            if not is_free.any():
                break
    return x


def fit_relative(A: Floats, b: Floats) -> Floats:
    """Return the x >= 0 that minimises the relative errors of A x against positive b."""
    # Columns of very different size (bytes beside a constant) would hide one another.
    sizes = np.abs(A / b[:, None]).max(axis=0)
    sizes[sizes == 0] = 1.0
    found: Floats = nnls(A / b[:, None] / sizes, np.ones(len(b))) / sizes
    return found


def held_out_residual(A: Floats, b: Floats) -> float:
    """Return the largest relative error on every third point, of a fit to the others."""
    is_out = np.arange(len(b)) % 3 == 1
    if not is_out.any() or (~is_out).sum() < A.shape[1]:
        return 0.0
    x = fit_relative(A[~is_out], b[~is_out])
    return float(np.abs(A[is_out] @ x / b[is_out] - 1.0).max())
