"""The ragged cache: what each row, layer and head keeps of its prompt, and what came after.

The logical length (tokens seen, which gives positions) and the physical one (entries kept) are
apart. Attention over it needs our own function, `ragged_attention`: causality follows from the
real order of the entries, not from indices that a mask of equal lengths would need.

Shapes: R rows, H heads of queries, K heads of keys, Q new tokens, D width of a head.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from transformers.cache_utils import Cache

from encodeonce.models.kv.attention import Attention
from encodeonce.models.kv.plan import Entries
from encodeonce.models.kv.storage import Precision, store
from encodeonce.models.kv.units import SLACK, Units

NAME = "encodeonce_ragged"
"""By which transformers knows `ragged_attention` while it is in use."""


class Eviction(Protocol):
    """What a method removes of a row while it decodes."""

    def entry(self, layer: int, num_entries: int, num_new: int) -> int | None:
        """Return the entry, counted from the first, that a layer gives up now, if any.

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
            rows: what each row keeps of its prompt.
            precisions: how each row's are stored.
            room: tokens that may follow.
            window: how many tokens back a query sees; None for all.
        """
        self._num_rows, self._window = len(rows), window
        self._num_heads = len(rows[0].keys)
        self._parts: list[Units] = []
        for precision in dict.fromkeys(precisions):
            mine = [n for n, other in enumerate(precisions) if other == precision]
            for group in _alike([piece for n in mine for piece in _pieces(n, rows[n])]):
                self._parts.append(_units(group, precision, room))
        # One tensor for all units in order is read without looking any up.
        self._in_order = len(self._parts) == 1 and bool((self._parts[0].numbers.diff() == 1).all())

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write (R, K, Q, D) new entries."""
        keys, values = keys.flatten(0, 1), values.flatten(0, 1)
        for part in self._parts:
            if self._in_order:
                part.append(keys, values)
            else:
                part.append(keys[part.numbers], values[part.numbers])

    def attend(self, queries: torch.Tensor, scaling: float) -> torch.Tensor:
        """Return (R, Q, H, D): what (R, H, Q, D) queries of the last Q tokens take."""
        num_rows, num_heads, num_queries, _ = queries.shape
        grouped = queries.reshape(
            num_rows * self._num_heads, num_heads // self._num_heads, num_queries, -1
        )
        if self._in_order:
            taken = self._parts[0].attend(grouped, scaling, self._window)
        else:
            taken = torch.empty_like(grouped)
            for part in self._parts:
                taken[part.numbers] = part.attend(grouped[part.numbers], scaling, self._window)
        return taken.view(num_rows, num_heads, num_queries, -1).transpose(1, 2)

    def rewind(self) -> None:
        """Forget what came after the prompts."""
        for part in self._parts:
            part.rewind()

    def remove(self, row: int, entry: int) -> None:
        """Remove an entry, counted from the first, of every head of a row."""
        for part in self._parts:
            for unit, number in enumerate(part.numbers.tolist()):
                if number // self._num_heads == row:
                    part.remove(unit, entry)

    def lengths(self) -> list[list[int]]:
        """Return the entries of each row's heads, new ones included."""
        found = [0] * (self._num_rows * self._num_heads)
        for part in self._parts:
            for number, length in zip(part.numbers.tolist(), part.lengths, strict=True):
                found[number] = length
        return [
            found[row * self._num_heads : (row + 1) * self._num_heads]
            for row in range(self._num_rows)
        ]

    @property
    def allocated_bytes(self) -> int:
        """Of all tensors, room and filling included."""
        return sum(part.allocated_bytes for part in self._parts)


class RaggedCache(Cache):
    """A cache for transformers' models, to be used with `ragged_attention` only."""

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
            evictions: what rows, by number, do at every further token.
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
        """Let methods that hold their budget while decoding remove entries."""
        for row, eviction in self._evictions.items():
            before = self.removed[row][-1] if self.removed[row] else 0
            removed = 0
            for number, layer in enumerate(self.ragged):
                lengths = layer.lengths()[row]
                entry = eviction.entry(number, lengths[0], self.num_new)
                if entry is not None:
                    layer.remove(row, entry)
                    removed += len(lengths)
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


_Piece = tuple[list[int], torch.Tensor, torch.Tensor]
"""Numbers of m units with their entries, (m, n, D) each."""


def _pieces(row: int, entries: Entries) -> list[_Piece]:
    num_heads = len(entries.keys)
    first = row * num_heads
    if isinstance(entries.keys, torch.Tensor) and isinstance(entries.values, torch.Tensor):
        return [(list(range(first, first + num_heads)), entries.keys, entries.values)]
    heads = zip(entries.keys, entries.values, strict=True)
    return [([first + n], keys[None], values[None]) for n, (keys, values) in enumerate(heads)]


def _alike(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Return pieces in groups of about the same length."""
    groups: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: (piece[1].shape[1], piece[0])):
        if not groups or piece[1].shape[1] > SLACK * groups[-1][0][1].shape[1]:
            groups.append([])
        groups[-1].append(piece)
    return groups


def _units(group: list[_Piece], precision: Precision, room: int) -> Units:
    # In the layer's order, so that a single tensor can be read as it lies.
    group = sorted(group, key=lambda piece: piece[0])
    numbers = [number for piece in group for number in piece[0]]
    lengths = [piece[1].shape[1] for piece in group for _ in piece[0]]
    keys = _filled([piece[1] for piece in group], max(lengths))
    values = _filled([piece[2] for piece in group], max(lengths))
    return Units(
        torch.tensor(numbers, device=keys.device),
        store(keys, room, precision, "channel"),
        store(values, room, precision, "token"),
        lengths,
    )


def _filled(tensors: Sequence[torch.Tensor], length: int) -> torch.Tensor:
    """Return (U, length, D) of several (m, n, D), filled up on the left with the first entry."""
    filled = [
        torch.cat([one[:, :1].expand(-1, length - one.shape[1], -1), one], dim=1) for one in tensors
    ]
    return torch.cat(filled)
