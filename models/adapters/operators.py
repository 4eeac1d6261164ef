"""Ways to add different low-rank products to the rows of a batch.

Rows are under different adapters: y_n + B_{a(n)} A_{a(n)} x_n. The ways differ in speed and in the
last bits. SGMV and BGMV are Punica's (Chen et al., 2023, arXiv:2310.18547, section 4).

Shapes: N rows, T tokens of each, I inputs, O outputs, A adapters of a module, R their largest rank.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import nn

from encodeonce.models.adapters.checkpoint import LowRank
from encodeonce.models.language.adapting import AdaptedRows

Kind = Literal["rows", "gather", "segment", "grouped", "concat"]

_WORTH_HOLDING = 2**20
"""Bytes of copies that are held for one module, however few the adapters."""
_ALIGNED = 4
"""Float32 numbers in 16 bytes, of which grouped products want rows to be a multiple."""


@dataclass(frozen=True, eq=False)
class Stack:
    """What different adapters add to one module, with ranks padded by zeros."""

    numbers: tuple[int, ...]
    """Of the adapters, in the order of ``a``; others add nothing here."""
    a: torch.Tensor
    """(A, R, I) float32."""
    b: torch.Tensor
    """(A, R, O) float32, scaled. In this order, few rows of short vectors multiply it sooner."""
    bias: torch.Tensor | None
    """(A, O) float32, scaled."""
    ranks: Sequence[int]

    @cached_property
    def place(self) -> Mapping[int, int]:
        """Where an adapter stands in the stack, by its number."""
        return {number: place for place, number in enumerate(self.numbers)}

    @property
    def widths(self) -> tuple[int, int, int]:
        """(R, I, O)."""
        _, rank, inputs = self.a.shape
        return rank, inputs, self.b.shape[2]

    @cached_property
    def nbytes(self) -> int:
        """Of all factors."""
        return self.a.nbytes + self.b.nbytes + (0 if self.bias is None else self.bias.nbytes)

    def product(self, place: int, x: torch.Tensor) -> torch.Tensor:
        """Return what an adapter adds for x (..., I) float32, computed without padding."""
        rank = self.ranks[place]
        inner = nn.functional.linear(x, self.a[place, :rank])
        bias = None if self.bias is None else self.bias[place]
        return nn.functional.linear(inner, self.b[place, :rank].T, bias)


def stacked(products: Mapping[int, LowRank], device: torch.device) -> Stack:
    """Return the products of one module, by the numbers of their adapters."""
    some = next(iter(products.values()))
    ranks = [product.rank for product in products.values()]
    rank = -(-max(ranks) // _ALIGNED) * _ALIGNED
    a = torch.zeros(len(products), rank, some.a.shape[1])
    b = torch.zeros(len(products), rank, len(some.b))
    bias = torch.zeros(len(products), len(some.b))
    for place, product in enumerate(products.values()):
        a[place, : product.rank] = product.a
        torch.mul(product.b.T, product.scaling, out=b[place, : product.rank])
        if product.bias is not None:
            bias[place] = product.bias * product.scaling
    has_bias = any(product.bias is not None for product in products.values())
    return Stack(
        numbers=tuple(products),
        a=a.to(device),
        b=b.to(device),
        bias=bias.to(device) if has_bias else None,
        ranks=ranks,
    )


def _sum(y: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
    """Return y + product, added in float32 and rounded once to y's precision, as peft does."""
    return (y + product).to(y.dtype)


def single(stack: Stack, number: int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Add one adapter's product everywhere: x (..., I) float32, y (..., O)."""
    place = stack.place.get(number)
    return y if place is None else _sum(y, stack.product(place, x))


def by_rows(stack: Stack, rows: AdaptedRows, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Compute two batched products for each adapter that is present, one matrix a row.

    Among others, a row's bits depend on itself alone, as with `gather`; its factors are read where
    they stand.
    """
    for part in _parts(stack, rows, x.device):
        own_x, own_y = (x, y) if part.is_everything else (x[part.at], y[part.at])
        if part.is_lone:
            # Twice: for a batch of one, MKL may take another kernel than for several.
            both = own_y.repeat(2, 1, 1)
            _add_batched(both, own_x.expand(2, -1, -1), *part.factors)
            own_y.copy_(both[:1])
        else:
            _add_batched(own_y, own_x, *part.factors)
            if not isinstance(part.at, slice):
                y.index_copy_(0, part.at, own_y)
    return y


def gather(stack: Stack, rows: AdaptedRows, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Copy every row's factors, and compute two batched products (BGMV).

    A row's bits depend on itself alone: shapes are the same whoever is present.
    """
    factors, is_base = _gathered(stack, rows, x.device)
    if is_base is None:
        _add_batched(y, x, *factors)
        return y
    added = y.clone()
    _add_batched(added, x, *factors)
    return torch.where(is_base, y, added)


def _add_batched(
    y: torch.Tensor, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None
) -> None:
    """Add x A B + bias to y in place, with a matrix of each row's: A (N, I, R), B (N, R, O)."""
    inner = torch.bmm(x, a)
    if y.dtype == torch.float32:
        y.baddbmm_(inner, b)
        if bias is not None:
            y.add_(bias)
    else:
        product = torch.bmm(inner, b)
        y.copy_(_sum(y, product if bias is None else product + bias))


def segment(stack: Stack, rows: AdaptedRows, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Compute two products for each adapter that is present."""
    for number, at in rows.spans(x.device):
        place = stack.place.get(number)
        if place is None:
            continue
        if isinstance(at, slice):
            _add_to(y[at].flatten(0, 1), stack, place, x[at].flatten(0, 1))
        else:
            y.index_copy_(0, at, _sum(y[at], stack.product(place, x[at])))
    return y


def _add_to(y: torch.Tensor, stack: Stack, place: int, x: torch.Tensor) -> None:
    """Add an adapter's product to y (M, O) in place, x (M, I) float32."""
    if y.dtype != torch.float32 or stack.bias is not None:
        y.copy_(_sum(y, stack.product(place, x)))
        return
    rank = stack.ranks[place]
    y.addmm_(nn.functional.linear(x, stack.a[place, :rank]), stack.b[place, :rank])


_Factors = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Of each of N rows: A (N, I, R), B (N, R, O), and a bias that can be added to (N, T, O)."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a batch that are under one adapter."""

    at: slice | torch.Tensor
    is_everything: bool
    is_lone: bool
    """A single row among others."""
    factors: _Factors
    """Views, of two rows where there is a lone one."""


def _parts(stack: Stack, rows: AdaptedRows, device: torch.device) -> list[_Part]:
    """Return the rows of every adapter that adds something; held for the next passes."""
    held: list[_Part] | None
    if (held := rows.held.get((by_rows, stack))) is not None:
        return held
    found = []
    for number, at in rows.spans(device):
        place = stack.place.get(number)
        if place is None:
            continue
        count = at.stop - at.start if isinstance(at, slice) else len(at)
        is_lone = count == 1 < len(rows.numbers)
        a, b = (one[place].expand(count + is_lone, -1, -1) for one in (stack.a, stack.b))
        bias = None if stack.bias is None else stack.bias[place]
        found.append(_Part(at, count == len(rows.numbers), is_lone, (a.transpose(1, 2), b, bias)))
    rows.held[by_rows, stack] = found
    return found


def _gathered(
    stack: Stack, rows: AdaptedRows, device: torch.device
) -> tuple[_Factors, torch.Tensor | None]:
    """Return every row's factors, and which rows (N, 1, 1) are the base's, if any.

    The copies are held for the next passes of the same rows, unless they are large, and larger
    than the adapters themselves.
    """
    if (found := rows.held.get((gather, stack))) is not None:
        return found
    places = rows.places(stack.numbers, device)
    chosen = places.clamp(min=0)
    factors = (
        stack.a[chosen].transpose(1, 2),
        stack.b[chosen],
        None if stack.bias is None else stack.bias[chosen][:, None],
    )
    is_base = (places < 0)[:, None, None]
    found = factors, is_base if any(one not in stack.place for one in rows.numbers) else None
    if _is_worth_holding(stack, rows):
        rows.held[gather, stack] = found
    return found


def _is_worth_holding(stack: Stack, rows: AdaptedRows) -> bool:
    """Return whether copies of all rows' factors are small, or no larger than the adapters."""
    copied = len(rows.numbers) * stack.nbytes / len(stack.numbers)
    return copied <= max(stack.nbytes, _WORTH_HOLDING)


def concat(stack: Stack, rows: AdaptedRows, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Compute all adapters' inner products at once, and mask those of others than the row's."""
    places = rows.places(stack.numbers, x.device)
    is_own = places[:, None] == torch.arange(len(stack.a), device=x.device)  # (N, A)
    inner = nn.functional.linear(x, stack.a.flatten(0, 1)).unflatten(-1, stack.a.shape[:2])
    masked = (inner * is_own[:, None, :, None]).flatten(2)
    product = masked @ stack.b.flatten(0, 1)
    if stack.bias is not None:
        product = product + stack.bias[places.clamp(min=0)][:, None]
    return torch.where((places >= 0)[:, None, None], _sum(y, product), y)


def grouped(stack: Stack, rows: AdaptedRows, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Sort rows by their adapters, and compute two grouped products (SGMV)."""
    present = [(stack.place[n], at) for n, at in rows.segments if n in stack.place]
    if not present:
        return y
    order = torch.tensor([one for _, at in present for one in at], device=x.device)
    places = torch.tensor([place for place, _ in present], device=x.device)
    counts = torch.tensor([len(at) * x.shape[1] for _, at in present], device=x.device)
    ends = counts.cumsum(0, dtype=torch.int32)
    sorted_x = x[order].flatten(0, 1)
    inner = nn.functional.grouped_mm(sorted_x, stack.a[places].transpose(1, 2), offs=ends)
    product = nn.functional.grouped_mm(inner, stack.b[places], offs=ends)
    if stack.bias is not None:
        product = product + stack.bias[places].repeat_interleave(counts, dim=0)
    added = _sum(y[order], product.unflatten(0, (len(order), -1)))
    return y.index_copy(0, order, added)


KINDS: Mapping[Kind, Callable[[Stack, AdaptedRows, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "rows": by_rows,
    "gather": gather,
    "segment": segment,
    "grouped": grouped,
    "concat": concat,
}
"""Each takes x (N, T, I) float32 and y (N, T, O), contiguous, into which it may write, and returns
(N, T, O) in y's precision. Rows that are under no adapter keep their bits."""


def offers(kind: Kind, stack: Stack) -> bool:
    """Return whether a module's shapes allow a way."""
    return kind != "grouped" or all(width % _ALIGNED == 0 for width in stack.widths)


def usual(stack: Stack, rows: AdaptedRows, num_tokens: int) -> Kind:
    """Return the way for rows of T tokens.

    While answers are decoded, rows keep their bits whoever is decoded beside them, although who
    they are decides on the way: `by_rows` and `gather` multiply the same matrices, each by itself,
    with the same bits. Several tokens of rows under different adapters are computed by nobody who
    promises bits.
    """
    if num_tokens > 1:
        return "segment"
    if stack.a.device.type != "cpu":
        return "gather"
    # Copies cost several times the products, unless the next passes use them.
    return "gather" if len(rows.segments) > 1 and _is_worth_holding(stack, rows) else "rows"
