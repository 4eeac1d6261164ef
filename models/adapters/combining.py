"""Merges adapters of one model into one, without training: by their weights.

Shapes: n adapters; R rank, I inputs and O outputs of a linear layer.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch

from encodeonce.models.adapters.checkpoint import LowRank
from encodeonce.models.adapters.lora_config import AdapterError

How = Literal["cat", "svd", "ties"]
WAYS: tuple[How, ...] = get_args(How)
Products = Mapping[str, LowRank]


def combined(
    adapters: Sequence[Products], how: How, weight: float, max_rank: int, density: float = 0.2
) -> dict[str, LowRank]:
    """Return one adapter made of several, of scaling 1.

    ``cat`` sums the products exactly, by putting factors side by side: its rank is the sum of
    theirs. ``svd`` is the best approximation of that sum of rank ``max_rank`` (Eckart and Young,
    1936). ``ties`` trims each product to its largest entries, elects a sign for each entry, and
    averages those that agree (Yadav et al., 2023, arXiv:2306.01708, section 4), then cuts to
    ``max_rank`` by SVD. They are peft's ``add_weighted_adapter`` with ``cat``, ``svd`` and
    ``ties_svd``.

    Args:
        adapters: of the same layers, without bias.
        how: which way.
        weight: of each product in the sum: 1, or 1/n for a mean.
        max_rank: of the result, less where a layer is smaller; not for ``cat``.
        density: fraction of entries that ``ties`` keeps.

    Raises:
        AdapterError: they adapt different layers, or add a bias.
    """
    names = list(adapters[0])
    if any(set(one) != set(names) for one in adapters):
        raise AdapterError("adapters of different layers cannot be merged")
    if any(product.bias is not None for one in adapters for product in one.values()):
        raise AdapterError("adapters with a bias of their own cannot be merged")
    found = {}
    for name in names:
        products = [one[name] for one in adapters]
        if how == "cat":
            found[name] = _side_by_side(products, weight)
            continue
        whole = [product.scaling * product.b @ product.a for product in products]
        total = weight * sum(whole) if how == "svd" else _ties(whole, weight, density)
        found[name] = _truncated(torch.as_tensor(total), max_rank)
    return found


def _side_by_side(products: Sequence[LowRank], weight: float) -> LowRank:
    b = torch.cat([weight * product.scaling * product.b for product in products], dim=1)
    return LowRank(a=torch.cat([product.a for product in products]), b=b, bias=None, scaling=1.0)


def _truncated(whole_OI: torch.Tensor, max_rank: int) -> LowRank:
    u, sizes, v = torch.linalg.svd(whole_OI, full_matrices=False)
    rank = min(max_rank, len(sizes))
    b = (u[:, :rank] * sizes[:rank]).contiguous()
    # Every layer has the rank that the configuration says; a smaller one gets zeros.
    pad = max_rank - rank
    return LowRank(
        a=torch.nn.functional.pad(v[:rank], (0, 0, 0, pad)),
        b=torch.nn.functional.pad(b, (0, pad)),
        bias=None,
        scaling=1.0,
    )


def _ties(whole: Sequence[torch.Tensor], weight: float, density: float) -> torch.Tensor:
    trimmed = torch.stack([_largest(one, density) for one in whole])
    elected = torch.where(trimmed.sum(0) >= 0, 1.0, -1.0)
    agrees = torch.where(elected > 0, trimmed > 0, trimmed < 0)
    counts = agrees.sum(0).clamp(min=1)
    return (weight * trimmed * agrees).sum(0) / counts


def _largest(whole_OI: torch.Tensor, density: float) -> torch.Tensor:
    count = int(density * whole_OI.numel())
    flat = whole_OI.flatten()
    kept = torch.zeros_like(flat)
    at = flat.abs().topk(count).indices
    kept[at] = flat[at]
    return kept.reshape(whole_OI.shape)
