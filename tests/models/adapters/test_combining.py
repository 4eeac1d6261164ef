"""Adapters merged in weight space, on numbers."""

import pytest
import torch

from encodeonce.models.adapters.checkpoint import LowRank
from encodeonce.models.adapters.combining import WAYS, combined
from encodeonce.models.adapters.lora_config import AdapterError


def product(seed: int, rank: int = 2, scaling: float = 0.5, outputs: int = 6) -> LowRank:
    noise = torch.Generator().manual_seed(seed)
    return LowRank(
        a=torch.randn(rank, 5, generator=noise),
        b=torch.randn(outputs, rank, generator=noise),
        bias=None,
        scaling=scaling,
    )


def whole(one: LowRank) -> torch.Tensor:
    return one.scaling * one.b @ one.a


ONE, OTHER = {"q": product(0)}, {"q": product(1, rank=3, scaling=2.0)}


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_side_by_side_they_are_their_sum(weight: float) -> None:
    found = combined([ONE, OTHER], "cat", weight, max_rank=1)["q"]
    assert found.rank == 5
    assert torch.allclose(whole(found), weight * (whole(ONE["q"]) + whole(OTHER["q"])), atol=1e-5)


def test_by_svd_they_are_the_best_of_a_rank() -> None:
    total = whole(ONE["q"]) + whole(OTHER["q"])
    sizes = torch.linalg.svdvals(total)
    for rank in (1, 2, 5):
        found = combined([ONE, OTHER], "svd", 1.0, rank)["q"]
        missing = float((whole(found) - total).norm())
        assert found.rank == rank and missing == pytest.approx(float(sizes[rank:].norm()), abs=1e-4)
    wide = combined([ONE, OTHER], "svd", 1.0, 9)["q"]
    assert wide.rank == 9 and torch.allclose(whole(wide), total, atol=1e-4)


def test_ties_averages_what_agrees_in_sign() -> None:
    """Two of six entries are kept of each; where they meet with other signs, the larger wins."""
    rows = ([[5.0, -4, 1, 0, 0, 2]], [[-3.0, -2, 0, 1, 1, 0]])
    some = [
        {"q": LowRank(a=torch.tensor(row), b=torch.ones(1, 1), bias=None, scaling=1.0)}
        for row in rows
    ]
    found = combined(some, "ties", 1.0, 1, density=1 / 3)["q"]
    assert torch.allclose(whole(found), torch.tensor([[5.0, -3, 0, 0, 0, 0]]), atol=1e-5)


@pytest.mark.parametrize("how", WAYS)
def test_adapters_of_different_layers_are_refused(how: str) -> None:
    with pytest.raises(AdapterError, match="different layers"):
        combined([ONE, {"k": product(1)}], how, 1.0, 2)  # type: ignore[arg-type]
