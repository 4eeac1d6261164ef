"""Which adapter each row of a pass is under.

Whoever runs a model says so around the pass, as with `torch.inference_mode`; the hooks on adapted
layers (`encodeonce.models.adapters.bank`) ask. Nothing else on the way has to know of adapters, and
a model without any is not concerned.

Shapes: N rows, T tokens of each.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import torch

BASE = -1
"""Of a row that is under no adapter."""

Index = int | Sequence[int] | Sequence[Sequence[int]]


class AdaptedRows:
    """The adapters of a pass. What is derived from them is computed once for all layers.

    Attributes:
        number: of the one adapter that everything is under, whatever its shape; None where rows
            differ.
        numbers: otherwise of each row, or of each token, row after row.
        shape: (N,) or (N, T) of ``numbers``.
        highest: the highest number.
        is_base: whether nothing is under an adapter.
        held: what operators have derived from them, each by a key of its own.
    """

    def __init__(self, index: Index) -> None:
        """Take note of adapters.

        Args:
            index: one number for everything, one for each row, or for each row those of its tokens.

        Raises:
            ValueError: rows have different numbers of tokens, or a number is below `BASE`.
        """
        self.number: int | None = None
        self.shape: tuple[int, ...] = ()
        self.numbers: list[int] = []
        if isinstance(index, int):
            self.number = index
            self.numbers = [index]
        else:
            nested = [[one] if isinstance(one, int) else list(one) for one in index]
            self.numbers = [number for row in nested for number in row]
            self.shape = (len(nested),)
            if not all(isinstance(one, int) for one in index):
                self.shape = (len(nested), len(nested[0]))
                if any(len(row) != len(nested[0]) for row in nested):
                    raise ValueError("rows have different numbers of tokens; pad their adapters")
        if min(self.numbers, default=BASE) < BASE:
            raise ValueError(f"adapters are numbered from 0, {BASE} is the base; got {index!r}")
        self.highest = max(self.numbers, default=BASE)
        self.is_base = self.highest == BASE
        self.held: dict[Hashable, Any] = {}
        self._places: dict[tuple[tuple[int, ...], torch.device], torch.Tensor] = {}
        self._spans: dict[torch.device, list[tuple[int, slice | torch.Tensor]]] = {}
        self._without: dict[int, AdaptedRows] = {}
        self._others: dict[tuple[int, torch.device], torch.Tensor] = {}

    @cached_property
    def segments(self) -> list[tuple[int, list[int]]]:
        """The adapters that are present, each with the positions in ``numbers`` where it is."""
        found: dict[int, list[int]] = {}
        for position, number in enumerate(self.numbers):
            if number != BASE:
                found.setdefault(number, []).append(position)
        return sorted(found.items())

    def spans(self, device: torch.device) -> list[tuple[int, slice | torch.Tensor]]:
        """Return `segments` as what indexes rows: a slice where they are side by side."""
        if device not in self._spans:
            self._spans[device] = [
                (number, _span(positions, device)) for number, positions in self.segments
            ]
        return self._spans[device]

    def places(self, order: tuple[int, ...], device: torch.device) -> torch.Tensor:
        """Return where in an order of adapters each of ``numbers`` stands; -1 where it does not."""
        key = order, device
        if key not in self._places:
            place = {number: n for n, number in enumerate(order)}
            found = torch.tensor([place.get(number, -1) for number in self.numbers])
            self._places[key] = found.to(device, non_blocking=True)
        return self._places[key]

    def others(self, number: int, device: torch.device) -> torch.Tensor:
        """Return the positions in ``numbers`` of all but one adapter's, base included."""
        key = number, device
        if key not in self._others:
            at = [place for place, one in enumerate(self.numbers) if one != number]
            self._others[key] = torch.tensor(at, device=device, dtype=torch.long)
        return self._others[key]

    def without(self, number: int) -> "AdaptedRows":
        """Return the same, with what is under one adapter under none."""
        if number not in self._without:
            numbers = [BASE if one == number else one for one in self.numbers]
            if self.number is not None:
                self._without[number] = AdaptedRows(numbers[0])
            elif len(self.shape) == 1:
                self._without[number] = AdaptedRows(numbers)
            else:
                self._without[number] = AdaptedRows(self._by_row(numbers))
        return self._without[number]

    def last(self, num_tokens: int) -> "AdaptedRows":
        """Return the adapters of each row's last tokens."""
        return AdaptedRows([row[-num_tokens:] for row in self._by_row(self.numbers)])

    def _by_row(self, numbers: Sequence[int]) -> list[Sequence[int]]:
        rows, width = self.shape
        return [numbers[row * width : (row + 1) * width] for row in range(rows)]


def _span(positions: Sequence[int], device: torch.device) -> slice | torch.Tensor:
    """Return ascending positions as an index."""
    first, end = positions[0], positions[-1] + 1
    if end - first == len(positions):
        return slice(first, end)
    return torch.tensor(positions, device=device)


_current: ContextVar[AdaptedRows | None] = ContextVar("adapted rows", default=None)


@contextmanager
def using(index: Index | AdaptedRows) -> Iterator[None]:
    """Let passes inside the block be under adapters; at its end, those around it are again.

    Passes of other threads are not concerned.

    Args:
        index: see `AdaptedRows`.
    """
    rows = index if isinstance(index, AdaptedRows) else AdaptedRows(index)
    before = _current.set(rows)
    try:
        yield
    finally:
        _current.reset(before)


def adapted_rows() -> AdaptedRows | None:
    """Return the adapters of the pass that is being computed; None if nobody said."""
    return _current.get()
