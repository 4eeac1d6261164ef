"""Stores rows' heads of about the same length in one tensor.

A *head* here is one key head of one row; the code calls it a unit. Heads hold different numbers of
entries: budgets differ by layer, by row and, for some methods, by head. Those of similar lengths
share a tensor, padded on the left, where a mask hides it; new tokens follow on the right.

Shapes: U heads, S entries of the longest, T room for new tokens, G query heads per head, Q new
tokens, D width.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from encodeonce.models.kv.attention import causal
from encodeonce.models.kv.kernels.parts import aligned, attend_part, bias_of, union
from encodeonce.models.kv.kernels.quantised import attend_quantised, quantised_kernel
from encodeonce.models.kv.kernels.transfer import upload
from encodeonce.models.kv.storage import Precision, store

SLACK = 1.125
"""Heads share a tensor if the longest has at most this many times the shortest's entries."""
LEAST_GROWTH = 32
"""Tokens by which room grows at least."""
_ALIGNED = 16
"""GPU attention kernels copy a mask at every call unless its rows begin at multiples of this."""


class Units:
    """Some heads of one layer: entries of their prompts, and of later tokens."""

    def __init__(
        self,
        keys: Sequence[torch.Tensor],
        values: Sequence[torch.Tensor],
        precision: Precision,
        room: int,
    ) -> None:
        """Copy entries.

        Args:
            keys: (m, n, D) each, of m heads that keep n entries of their prompts.
            values: likewise.
            precision: how to store them.
            room: tokens that may follow.
        """
        self._lengths = [piece.shape[1] for piece in keys for _ in piece]
        self._longest, self._num_new = max(self._lengths), 0
        self._keys = store(keys, room, precision, "channel")
        self._values = store(values, room, precision, "token")
        self._bias: torch.Tensor | None = None
        self._at: torch.Tensor | None = None
        self._no_bias = keys[0].new_zeros(1, 1, 1, 1)
        self._room = room
        starts = [self._longest - length for length in self._lengths]
        self._starts = upload(starts, keys[0].device)  # those of quantised entries never move
        if any(starts):
            bias = self._new_bias()
            places = torch.arange(bias.shape[-1], device=bias.device)
            bias.masked_fill_(places < self._starts[:, None, None, None], float("-inf"))

    def __len__(self) -> int:
        """Return U."""
        return len(self._lengths)

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write (U, Q, D) new entries behind all others."""
        if self._at is None:
            lacking = self._num_new + keys.shape[1] - self._room
            if lacking > 0:
                self.grow(max(lacking, LEAST_GROWTH))
        else:
            assert self._bias is not None
            self._bias[..., self._longest :].index_fill_(-1, self._at, 0.0)
        place = self._num_new if self._at is None else self._at
        self._keys.write(place, keys)
        self._values.write(place, values)
        self._num_new += keys.shape[1]

    def fix(self, at: torch.Tensor) -> None:
        """Keep to the same shapes from now on: attend to all the room, and hide what is vacant.

        Args:
            at: (1,) where the next token is to be written; a device counts there.
        """
        self._at = at
        # What is hidden still has to be a number: nothing times infinity is none.
        self._keys.clear(self._num_new)
        self._values.clear(self._num_new)
        bias = self._new_bias() if self._bias is None else self._bias
        bias[..., self._longest + self._num_new :] = float("-inf")

    def advance(self) -> None:
        """Take note that a token was written without `append`, by a replayed step."""
        self._num_new += 1

    @property
    def room_left(self) -> int:
        """Tokens that can be appended without growing."""
        return self._room - self._num_new

    def rewind(self) -> None:
        """Forget what came after the prompts."""
        self._num_new = 0

    def grow(self, num_entries: int) -> None:
        """Make room for so many more tokens."""
        self._keys.grow(num_entries)
        self._values.grow(num_entries)
        self._room += num_entries
        if self._bias is not None:
            before = self._bias
            self._new_bias()[..., : before.shape[-1]] = before
        if self._at is not None:
            self.fix(self._at)

    def keep(self, units: Sequence[int]) -> None:
        """Drop all heads but these, which are renumbered in the order given."""
        chosen = upload(units, self._no_bias.device)
        self._keys.keep(chosen)
        self._values.keep(chosen)
        self._starts = self._starts.index_select(0, chosen)
        self._lengths = [self._lengths[unit] for unit in units]
        if self._bias is not None:
            self._bias = self._bias.index_select(0, chosen)

    def remove(self, unit: int, entry: int) -> None:
        """Remove an entry, counted from the head's first; those before it move up."""
        start = self._longest - self._lengths[unit]
        self._keys.shift(unit, start, start + entry)
        self._values.shift(unit, start, start + entry)
        self._lengths[unit] -= 1
        bias = self._new_bias() if self._bias is None else self._bias
        bias[unit, ..., start] = float("-inf")

    def length(self, unit: int) -> int:
        """Return the number of a head's entries, new ones included."""
        return self._lengths[unit] + self._num_new

    @property
    def allocated_bytes(self) -> int:
        """Bytes of keys and values, room and padding included."""
        return self._keys.allocated_bytes + self._values.allocated_bytes

    def attend(
        self, queries: torch.Tensor, scaling: float, window: int | None = None
    ) -> torch.Tensor:
        """Return the attention output of (U, G, Q, D) queries of the last Q tokens.

        Args:
            queries: after rotation.
            scaling: of the products.
            window: how many tokens back a query sees, its own included; None for all.
        """
        num_units, num_groups, num_queries, width = queries.shape
        # All queries of a head read the same keys: one head of G x Q queries.
        together = queries.flatten(1, 2)[:, None]
        is_quantised = self._keys.quantised is not None and window is None
        if is_quantised and quantised_kernel(queries.device, queries.dtype, width) == "triton":
            taken = self._attend_as_stored(together, scaling, num_queries)
            return taken.view(num_units, num_groups, num_queries, -1)
        num_new = self._num_new if self._at is None else self._room
        keys, values = self._keys.read(num_new), self._values.read(num_new)
        mask = None if self._bias is None else self._bias[..., : keys.shape[1]]
        if num_queries > 1 or window is not None:
            # Entries are ordered by position and end with the queries' own, so visibility
            # follows from their order.
            hidden = ~causal(num_queries, keys.shape[1], keys.device, window)
            mask = self._no_bias if mask is None else mask
            mask = mask.masked_fill(hidden.repeat(num_groups, 1), float("-inf"))
        taken = functional.scaled_dot_product_attention(
            together, keys[:, None], values[:, None], mask, scale=scaling
        )
        return taken.view(num_units, num_groups, num_queries, values.shape[-1])

    def _attend_as_stored(
        self, queries: torch.Tensor, scaling: float, num_queries: int
    ) -> torch.Tensor:
        """Return the output (U, 1, G x Q, D), without a copy of the entries in full precision."""
        keys, values = self._keys.quantised, self._values.quantised
        assert keys is not None and values is not None
        old = attend_quantised(queries, keys, values, self._starts, scaling)
        num_new, bias = self._num_new, None
        if self._at is not None:
            assert self._bias is not None
            num_new = self._room
            bias = aligned(self._bias[:1, ..., self._longest : self._longest + num_new])
        elif num_queries > 1:
            visible = causal(num_queries, num_new, queries.device)
            num_groups = queries.shape[2] // num_queries
            bias = bias_of(visible.repeat(num_groups, 1)[None, None], queries.dtype)
        new_keys, new_values = self._keys.read_new(num_new), self._values.read_new(num_new)
        new = attend_part(queries, new_keys[:, None], new_values[:, None], scaling, bias)
        return union([*old, new])

    def _new_bias(self) -> torch.Tensor:
        """Return (U, 1, 1, S + T) to add to scores, nothing hidden yet."""
        width = -(-(self._longest + self._room) // _ALIGNED) * _ALIGNED
        self._bias = self._no_bias.new_zeros(len(self), 1, 1, width)
        return self._bias
