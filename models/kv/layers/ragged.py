"""One layer of rows that hold entries of their own, of lengths that differ by row and head.

Shapes: R rows, H heads of queries, K heads of keys, Q new tokens, D width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from encodeonce.models.kv.kernels.transfer import upload
from encodeonce.models.kv.layers.units import SLACK, Units
from encodeonce.models.kv.selection import Entries
from encodeonce.models.kv.storage import Precision


class RaggedLayer:
    """One layer of rows that hold entries of their own."""

    is_compileable = False
    is_sliding = False

    def __init__(
        self,
        rows: Sequence[Entries],
        precisions: Sequence[Precision],
        room: int,
        window: int | None = None,
    ) -> None:
        """Copy entries.

        Args:
            rows: the entries that each row keeps of its prompt.
            precisions: how each row's entries are stored.
            room: tokens that may follow.
            window: how many tokens back a query sees; None for all.
        """
        self.num_heads, self.window = len(rows[0].keys), window
        parts = []
        for precision in dict.fromkeys(precisions):
            mine = [n for n, other in enumerate(precisions) if other == precision]
            for group in _alike([piece for n in mine for piece in _pieces(n, rows[n])]):
                part = Units([p.keys for p in group], [p.values for p in group], precision, room)
                parts.append((part, [unit for piece in group for unit in piece.units]))
        self._device = rows[0].keys[0].device
        self._arrange(parts)

    def _arrange(self, parts: Sequence[tuple[Units, Sequence[int]]]) -> None:
        """Take the parts with the numbers of their heads in the layer."""
        self._parts = [part for part, _ in parts]
        self._sizes = [len(part) for part in self._parts]
        self._place = {
            unit: (part, place) for part, units in parts for place, unit in enumerate(units)
        }
        self._order = self._back = None
        order = list(self._place)
        if order != sorted(order):  # otherwise heads are read and written in their order
            self._order = upload(order, self._device)
            self._back = self._order.argsort()

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which are renumbered in the order given."""
        number = {
            row * self.num_heads + head: new * self.num_heads + head
            for new, row in enumerate(rows)
            for head in range(self.num_heads)
        }
        parts = []
        for part in self._parts:
            units = [unit for unit, (mine, _) in self._place.items() if mine is part]
            kept = [place for place, unit in enumerate(units) if unit in number]
            if kept:
                part.keep(kept)
                parts.append((part, [number[units[place]] for place in kept]))
        self._arrange(parts)

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write (R, K, Q, D) new entries."""
        keys_by_part = self._by_part(keys.flatten(0, 1))
        values_by_part = self._by_part(values.flatten(0, 1))
        for part, some, others in zip(self._parts, keys_by_part, values_by_part, strict=True):
            part.append(some, others)

    @property
    def can_be_fixed(self) -> bool:
        """Whether steps may keep to the same shapes: not where what a query sees moves along."""
        return self.window is None

    def fix(self, at: torch.Tensor) -> None:
        """Keep to the same shapes from now on.

        Args:
            at: (1,) where the next token is to be written; a device counts there.
        """
        for part in self._parts:
            part.fix(at)

    def advance(self) -> None:
        """Take note that a token was written without `append`, by a replayed step."""
        for part in self._parts:
            part.advance()

    @property
    def room_left(self) -> int:
        """Tokens that can be appended without growing."""
        return min(part.room_left for part in self._parts)

    def grow(self, num_tokens: int) -> None:
        """Make room for so many more tokens."""
        for part in self._parts:
            part.grow(num_tokens)

    def attend(self, queries: torch.Tensor, scaling: float) -> torch.Tensor:
        """Return the attention output (R, Q, H, D) of (R, H, Q, D) queries of the last Q tokens."""
        num_rows, num_heads, num_queries, _ = queries.shape
        grouped = queries.reshape(
            num_rows * self.num_heads, num_heads // self.num_heads, num_queries, -1
        )
        by_part = [
            part.attend(some, scaling, self.window)
            for part, some in zip(self._parts, self._by_part(grouped), strict=True)
        ]
        taken = by_part[0] if len(by_part) == 1 else torch.cat(by_part)
        if self._back is not None:
            taken = taken.index_select(0, self._back)
        return taken.view(num_rows, num_heads, num_queries, -1).transpose(1, 2)

    def rewind(self) -> None:
        """Forget what came after the prompts."""
        for part in self._parts:
            part.rewind()

    def remove(self, row: int, entry: int) -> None:
        """Remove an entry, counted from the first, of every head of a row."""
        for head in range(self.num_heads):
            part, place = self._place[row * self.num_heads + head]
            part.remove(place, entry)

    def length(self, row: int) -> int:
        """Return the entries of a row's first head, new ones included."""
        part, place = self._place[row * self.num_heads]
        return part.length(place)

    def _by_part(self, states: torch.Tensor) -> Sequence[torch.Tensor]:
        """Split (R x K, ...), in the layer's order, by part."""
        ordered = states if self._order is None else states.index_select(0, self._order)
        return ordered.split(self._sizes)

    @property
    def allocated_bytes(self) -> int:
        """Of all tensors, room and filling included."""
        return sum(part.allocated_bytes for part in self._parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Some heads of a row that keep the same number of entries."""

    units: Sequence[int]
    """Their numbers in the layer, m."""
    keys: torch.Tensor
    """(m, n, D)."""
    values: torch.Tensor
    """(m, n, D)."""

    @property
    def num_entries(self) -> int:
        """Of each: n."""
        return self.keys.shape[1]


def _pieces(row: int, entries: Entries) -> list[_Piece]:
    first = row * len(entries.keys)
    if isinstance(entries.keys, torch.Tensor) and isinstance(entries.values, torch.Tensor):
        units = range(first, first + len(entries.keys))
        return [_Piece(units=units, keys=entries.keys, values=entries.values)]
    heads = zip(entries.keys, entries.values, strict=True)
    return [
        _Piece(units=[first + head], keys=keys[None], values=values[None])
        for head, (keys, values) in enumerate(heads)
    ]


def _alike(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Return pieces in groups of about the same length, each in the layer's order."""
    groups: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.num_entries, piece.units[0])):
        if not groups or piece.num_entries > SLACK * groups[-1][0].num_entries:
            groups.append([])
        groups[-1].append(piece)
    return [sorted(group, key=lambda piece: piece.units[0]) for group in groups]
