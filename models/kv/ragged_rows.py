"""Stores rows' heads of about the same length in one tensor.

A *head* here is one key head of one row; the code calls it a unit. Heads hold different numbers of
entries: budgets differ by layer, by row and, for some methods, by head. Those of similar lengths
share a tensor, padded on the left, where a mask hides it; new tokens follow on the right.

Shapes: U heads, S entries of the longest, G query heads per head, Q new tokens, D width.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from encodeonce.models.kv.attention import causal
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
        self._no_bias = keys[0].new_zeros(1, 1, 1, 1)
        self._room = room
        if min(self._lengths) < self._longest:
            bias = self._new_bias()
            places = torch.arange(bias.shape[-1], device=bias.device)
            starts = self._longest - torch.tensor(self._lengths, device=bias.device)
            bias.masked_fill_(places < starts[:, None, None, None], float("-inf"))

    def __len__(self) -> int:
        """Return U."""
        return len(self._lengths)

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write (U, Q, D) new entries behind all others."""
        lacking = self._num_new + keys.shape[1] - self._room
        if lacking > 0:
            self.grow(max(lacking, LEAST_GROWTH))
        self._keys.write(self._num_new, keys)
        self._values.write(self._num_new, values)
        self._num_new += keys.shape[1]

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

    def keep(self, units: Sequence[int]) -> None:
        """Drop all heads but these, which are renumbered in the order given."""
        chosen = torch.tensor(units, device=self._no_bias.device)
        self._keys.keep(chosen)
        self._values.keep(chosen)
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
        num_units, num_groups, num_queries, _ = queries.shape
        keys, values = self._keys.read(self._num_new), self._values.read(self._num_new)
        mask = None if self._bias is None else self._bias[..., : keys.shape[1]]
        if num_queries > 1 or window is not None:
            # Entries are ordered by position and end with the queries' own, so visibility
            # follows from their order.
            hidden = ~causal(num_queries, keys.shape[1], keys.device, window)
            mask = self._no_bias if mask is None else mask
            mask = mask.masked_fill(hidden.repeat(num_groups, 1), float("-inf"))
        # All queries of a head read the same keys: one head of G x Q queries.
        taken = functional.scaled_dot_product_attention(
            queries.flatten(1, 2)[:, None], keys[:, None], values[:, None], mask, scale=scaling
        )
        return taken.view(num_units, num_groups, num_queries, values.shape[-1])

    def _new_bias(self) -> torch.Tensor:
        """Return (U, 1, 1, S + T) to add to scores, nothing hidden yet."""
        width = -(-(self._longest + self._room) // _ALIGNED) * _ALIGNED
        self._bias = self._no_bias.new_zeros(len(self), 1, 1, width)
        return self._bias
