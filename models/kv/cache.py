"""The ragged cache: the entries kept of each row, layer and head, and those of later tokens.

The logical length (tokens seen, which gives positions) and the physical one (entries kept) are
apart. Attention over it needs our own function, `ragged_attention`: causality follows from the
real order of the entries, not from indices that a mask of equal lengths would need.

Shapes: R rows, H heads of queries, K heads of keys, Q new tokens, D width of a head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers.cache_utils import Cache

from encodeonce.models.kv.attention import Attention
from encodeonce.models.kv.ragged_rows import SLACK, Units
from encodeonce.models.kv.selection import Entries
from encodeonce.models.kv.storage import Precision

NAME = "encodeonce_ragged"
"""The name of `ragged_attention` in transformers while it is in use."""


class Eviction(Protocol):
    """A method's rule for removing a row's entries while decoding."""

    def entry(self, layer: int, num_entries: int, num_new: int) -> int | None:
        """Return the index of the entry that a layer drops now, if any.

        Args:
            layer: number of the layer.
            num_entries: entries of each head there.
            num_new: tokens since the prompt.
        """
        ...


class RaggedLayer:
    """One layer of some rows."""

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
        self.num_heads, self._window = len(rows[0].keys), window
        self._parts: list[Units] = []
        self._place: dict[int, tuple[Units, int]] = {}
        for precision in dict.fromkeys(precisions):
            mine = [n for n, other in enumerate(precisions) if other == precision]
            for group in _alike([piece for n in mine for piece in _pieces(n, rows[n])]):
                part = Units([p.keys for p in group], [p.values for p in group], precision, room)
                units = [unit for piece in group for unit in piece.units]
                self._place.update({unit: (part, place) for place, unit in enumerate(units)})
                self._parts.append(part)
        self._sizes = [len(part) for part in self._parts]
        self._order = self._back = None
        order = list(self._place)
        if order != sorted(order):  # otherwise heads are read and written in their order
            self._order = torch.tensor(order, device=rows[0].keys[0].device)
            self._back = self._order.argsort()

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write (R, K, Q, D) new entries."""
        keys_by_part = self._by_part(keys.flatten(0, 1))
        values_by_part = self._by_part(values.flatten(0, 1))
        for part, some, others in zip(self._parts, keys_by_part, values_by_part, strict=True):
            part.append(some, others)

    def attend(self, queries: torch.Tensor, scaling: float) -> torch.Tensor:
        """Return the attention output (R, Q, H, D) of (R, H, Q, D) queries of the last Q tokens."""
        num_rows, num_heads, num_queries, _ = queries.shape
        grouped = queries.reshape(
            num_rows * self.num_heads, num_heads // self.num_heads, num_queries, -1
        )
        by_part = [
            part.attend(some, scaling, self._window)
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


class RaggedCache(Cache):
    """A cache for transformers' models, for use with `ragged_attention` only."""

    def __init__(
        self,
        layers: Sequence[RaggedLayer],
        num_seen: int,
        evictions: Mapping[int, Eviction] | None = None,
    ) -> None:
        """Take layers.

        Args:
            layers: of the same rows.
            num_seen: tokens of every row's prompt, padding between prefix and question included.
            evictions: rules of rows, by number, applied at every further token.
        """
        self.ragged = tuple(layers)
        self.layers = list(layers)  # type: ignore[arg-type]
        self.num_seen = num_seen
        self.num_new = 0
        self.removed: dict[int, list[int]] = {row: [] for row in evictions or {}}
        """Entries removed so far, summed over layers and heads, after each token; by row."""
        self._evictions = evictions or {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (R, K, Q, D) entries; returns them alone, for `ragged_attention`."""
        if layer_idx == 0:
            self._evict()
            self.num_new += key_states.shape[2]
        self.ragged[layer_idx].append(key_states, value_states)
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the tokens seen, padding included: the logical length."""
        return self.num_seen + self.num_new

    def _evict(self) -> None:
        """Let methods that keep to their budget while decoding remove entries."""
        for row, eviction in self._evictions.items():
            before = self.removed[row][-1] if self.removed[row] else 0
            removed = 0
            for number, layer in enumerate(self.ragged):
                entry = eviction.entry(number, layer.length(row), self.num_new)
                if entry is not None:
                    layer.remove(row, entry)
                    removed += layer.num_heads
            self.removed[row].append(before + removed)

    def rewind(self) -> None:
        """Forget what came after the prompts."""
        self.num_new = 0
        for layer in self.ragged:
            layer.rewind()

    @property
    def allocated_bytes(self) -> int:
        """Of all tensors, room and filling included."""
        return sum(layer.allocated_bytes for layer in self.ragged)


def ragged_attention(cache: RaggedCache) -> Attention:
    """Return an attention function over a cache."""

    def attend(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        for unsupported in ("softcap", "s_aux"):
            if kwargs.get(unsupported) is not None:
                raise NotImplementedError(f"attention with {unsupported} over a compressed cache")
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        return cache.ragged[module.layer_idx].attend(query, scaling), None

    return attend


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
