"""Selects the entries of a prompt that stay, and splits budgets exactly.

Shapes: K heads of keys, N prompt tokens, n kept, D width of a head.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """Keys and values that stay of one layer and prompt: equal or different numbers per head.

    One tensor (K, n, D) for all heads, or, where heads keep different numbers, a list of K (n, D).
    """

    keys: torch.Tensor | list[torch.Tensor]
    values: torch.Tensor | list[torch.Tensor]
    indices: torch.Tensor | list[torch.Tensor]
    """(K, n), or K times (n,): the prompt's token that each entry stands for, ascending."""

    @property
    def num_entries(self) -> int:
        """Sum over heads."""
        return sum(self.lengths)

    @property
    def lengths(self) -> list[int]:
        """Of each head."""
        if isinstance(self.keys, torch.Tensor):
            return [self.keys.shape[1]] * self.keys.shape[0]
        return [len(keys) for keys in self.keys]


Selection = torch.Tensor | list[torch.Tensor]
"""Tokens that stay in one layer: (K, n), or K times (n,), ascending."""


def gather(keys: torch.Tensor, values: torch.Tensor, selection: Selection) -> Entries:
    """Return the selected entries of (K, N, D) keys and values."""
    if isinstance(selection, torch.Tensor):
        return Entries(
            keys=taken(keys, selection), values=taken(values, selection), indices=selection
        )
    return Entries(
        keys=[head[chosen] for head, chosen in zip(keys, selection, strict=True)],
        values=[head[chosen] for head, chosen in zip(values, selection, strict=True)],
        indices=selection,
    )


def taken(entries: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Return (K, n, D) of (K, N, D) entries, at (K, n) indices."""
    num_heads, num_tokens, width = entries.shape
    first = torch.arange(0, num_heads * num_tokens, num_tokens, device=indices.device)
    # Rows of one matrix: several times faster than gather, which looks up every element.
    rows = entries.reshape(-1, width).index_select(0, (indices + first[:, None]).flatten())
    return rows.view(num_heads, -1, width)


def top(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Return the ascending indices (..., count) of the largest scores along the last axis."""
    return scores.topk(count, dim=-1).indices.sort(-1).values


def uniform_count(num_tokens: int, keep: float) -> int:
    """Return how many of N entries to keep: rounded as in kvpress, at least one."""
    # 1e-9: 0.3 * 10 is 3, not 2.999…
    return max(1, math.floor(num_tokens * keep + 1e-9))


def spread(shares: Sequence[float], total: int, least: int, most: int) -> list[int]:
    """Return integers near ``shares`` that sum to ``total``, each within [least, most].

    Largest-remainder method; what a bound cuts off goes to the others in proportion.

    Raises:
        ValueError: the bounds do not allow the total.
    """
    count = len(shares)
    if not least * count <= total <= most * count:
        raise ValueError(f"{count} parts of {least} to {most} cannot sum to {total}")
    exact = _within(list(shares), total, least, most)
    whole = [min(most, max(least, math.floor(value + 1e-9))) for value in exact]
    order = sorted(range(count), key=lambda n: (whole[n] - exact[n], n))
    while (missing := total - sum(whole)) != 0:
        step = 1 if missing > 0 else -1
        for n in order if step > 0 else reversed(order):
            if missing and least <= whole[n] + step <= most:
                whole[n] += step
                missing -= step
    return whole


def _within(shares: list[float], total: float, least: float, most: float) -> list[float]:
    """Scale shares to a sum, fixing those that reach a bound."""
    held: dict[int, float] = {}
    while True:
        free = [n for n in range(len(shares)) if n not in held]
        left = total - sum(held.values())
        weight = sum(shares[n] for n in free)
        scaled = {n: shares[n] * left / weight if weight > 0 else left / len(free) for n in free}
        beyond = {
            n: most if value > most else least
            for n, value in scaled.items()
            if not least <= value <= most
        }
        if not beyond:
            return [held.get(n, scaled.get(n, 0.0)) for n in range(len(shares))]
        # One side at a time: holding both at once could overshoot.
        high = {n: bound for n, bound in beyond.items() if bound == most}
        low = {n: bound for n, bound in beyond.items() if bound == least}
        excess = sum(scaled[n] - most for n in high)
        lack = sum(least - scaled[n] for n in low)
        held.update(high if excess >= lack else low)
