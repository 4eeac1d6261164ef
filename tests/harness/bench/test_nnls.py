"""Least squares without negative coefficients."""

import numpy as np
import pytest

from encodeonce.harness.bench.nnls import fit_relative, held_out_residual, nnls


def test_without_a_binding_condition_it_is_least_squares() -> None:
    draws = np.random.default_rng(0)
    A = draws.random((20, 4))
    x = np.array([0.5, 2.0, 0.1, 3.0])
    assert nnls(A, A @ x) == pytest.approx(x)


def test_the_conditions_of_a_minimum_hold() -> None:
    """Karush, Kuhn, Tucker: no slope where x is above 0, none downhill where it is 0."""
    draws = np.random.default_rng(1)
    for _ in range(200):
        A, b = draws.standard_normal((12, 5)), draws.standard_normal(12)
        x = nnls(A, b)
        slope = A.T @ (A @ x - b)
        assert (x >= 0).all()
        assert np.abs(slope[x > 0]).max(initial=0.0) < 1e-8
        assert slope[x == 0].min(initial=0.0) > -1e-8


def test_a_fit_counts_relative_errors_over_columns_of_any_size() -> None:
    sizes = np.array([[1.0, n, b] for n in (1, 4, 16) for b in (1e4, 1e6, 4e7)])
    seconds = sizes @ np.array([6e-3, 3e-4, 2e-10])
    assert fit_relative(sizes, seconds) == pytest.approx([6e-3, 3e-4, 2e-10], rel=1e-6)
    assert held_out_residual(sizes, seconds) < 1e-6
    assert held_out_residual(sizes, seconds * np.array([1, 1.5, 1] * 3)) > 0.3
