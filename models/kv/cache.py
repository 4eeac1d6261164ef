"""The ragged cache: the entries kept of each row, layer and head, and those of later tokens.

The logical length (tokens seen, which gives positions) and the physical one (entries kept) are
apart. Attention over it needs our own function, `ragged_attention`: causality follows from the
real order of the entries, not from indices that a mask of equal lengths would need.

Shapes: R rows, H heads of queries, K heads of keys, Q new tokens, D width of a head.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from transformers.cache_utils import Cache

from encodeonce.models.kv.attention import Attention
from encodeonce.models.kv.layers.units import LEAST_GROWTH

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


class CacheLayer(Protocol):
    """One layer of some rows: the prompts' entries, and those of later tokens."""

    num_heads: int
    """K."""

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write (R, K, Q, D) new entries; room grows as needed, unless the layer is fixed."""
        ...

    @property
    def can_be_fixed(self) -> bool:
        """Whether `fix` is possible."""
        ...

    def fix(self, at: torch.Tensor) -> None:
        """Keep to the same shapes until `grow` or `keep`: what is vacant is computed, and hidden.

        Args:
            at: (1,) where the next token is to be written, counted from the first behind the
                prompts; a device counts there, so that a recorded step can be replayed.
        """
        ...

    def advance(self) -> None:
        """Take note that a token was written without `append`, by a replayed step."""
        ...

    @property
    def room_left(self) -> int:
        """Tokens that can be appended without growing."""
        ...

    def grow(self, num_tokens: int) -> None:
        """Make room for at least so many more tokens."""
        ...

    def attend(self, queries: torch.Tensor, scaling: float) -> torch.Tensor:
        """Return the attention output (R, Q, H, D) of (R, H, Q, D) queries of the last Q tokens."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which are renumbered in the order given."""
        ...

    def rewind(self) -> None:
        """Forget what came after the prompts."""
        ...

    def remove(self, row: int, entry: int) -> None:
        """Remove an entry, counted from the first, of every head of a row."""
        ...

    def length(self, row: int) -> int:
        """Return the entries of a row's first head, new ones included."""
        ...

    @property
    def window(self) -> int | None:
        """How many tokens back a query sees; None for all."""
        ...

    @property
    def allocated_bytes(self) -> int:
        """Of the rows' own tensors, room and filling included."""
        ...


class RaggedCache(Cache):
    """A cache for transformers' models, for use with `ragged_attention` only."""

    def __init__(
        self,
        layers: Sequence[CacheLayer],
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
        self.removed = dict.fromkeys(evictions or {}, 0)
        """Entries removed so far, summed over layers and heads; by row."""
        self._evictions = evictions or {}
        self._at: torch.Tensor | None = None

    @property
    def evicts(self) -> bool:
        """Whether a method may remove entries while decoding."""
        return bool(self._evictions)

    @property
    def can_be_fixed(self) -> bool:
        """Whether steps may keep to the same shapes, and count on the device."""
        return not self._evictions and all(layer.can_be_fixed for layer in self.ragged)

    @property
    def is_fixed(self) -> bool:
        """Whether they do."""
        return self._at is not None

    def fix(self, device: torch.device) -> None:
        """Keep to the same shapes until `reserve` or `keep` change them; one token a step."""
        self._at = torch.full((1,), self.num_new, device=device)
        for layer in self.ragged:
            layer.fix(self._at)

    def reserve(self) -> bool:
        """See to it that there is room for a token; return whether that changed shapes."""
        short = [layer for layer in self.ragged if not layer.room_left]
        for layer in short:
            layer.grow(LEAST_GROWTH)
        return bool(short)

    def advance(self) -> None:
        """Take note of a step that was replayed."""
        self.num_new += 1
        for layer in self.ragged:
            layer.advance()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (R, K, Q, D) entries; returns them alone, for `ragged_attention`."""
        if layer_idx == 0:
            self._evict()
            self.num_new += key_states.shape[2]
        self.ragged[layer_idx].append(key_states, value_states)
        if self._at is not None and layer_idx == len(self.ragged) - 1:
            self._at.add_(1)
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the tokens seen, padding included: the logical length."""
        return self.num_seen + self.num_new

    def num_entries(self, row: int) -> int:
        """Return the entries of a row, new ones included, in the first layer without a window."""
        found = (layer for layer in self.ragged if layer.window is None)
        return next(found, self.ragged[0]).length(row)

    def _evict(self) -> None:
        """Let methods that keep to their budget while decoding remove entries."""
        for row, eviction in self._evictions.items():
            for number, layer in enumerate(self.ragged):
                entry = eviction.entry(number, layer.length(row), self.num_new)
                if entry is not None:
                    layer.remove(row, entry)
                    self.removed[row] += layer.num_heads

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which are renumbered in the order given."""
        for layer in self.ragged:
            layer.keep(rows)
        number = {row: new for new, row in enumerate(rows)}
        self.removed = {number[n]: one for n, one in self.removed.items() if n in number}
        self._evictions = {number[n]: one for n, one in self._evictions.items() if n in number}

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
    return attention_by(lambda layer, query, scaling: cache.ragged[layer].attend(query, scaling))


def attention_by(attend_layer: Callable[[int, torch.Tensor, float], torch.Tensor]) -> Attention:
    """Return an attention function that leaves keys and values to a cache.

    Args:
        attend_layer: returns the output (R, Q, H, D) of a layer, given its number, the queries
            (R, H, Q, D) of the last Q tokens, and the scaling of the products.
    """

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
        return attend_layer(module.layer_idx, query, scaling), None

    return attend
