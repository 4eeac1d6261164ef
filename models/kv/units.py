"""Units of about the same length in one tensor.

A *unit* is one head of keys of one row. Units hold different numbers of entries: budgets differ by
layer, by row and, for some methods, by head. Those whose lengths are alike lie together, filled up
on the left, where a mask hides it; new tokens follow on the right.

Shapes: U units, S entries of the longest, G query heads of a unit, Q new tokens, D width.
"""

import torch
from torch.nn import functional

from encodeonce.models.kv.attention import causal
from encodeonce.models.kv.storage import Storage

SLACK = 1.125
"""Units lie together if the longest has at most so many times the entries of the shortest."""


class Units:
    """Some units of one layer: entries of their prompts, and of what came after."""

    def __init__(
        self, numbers: torch.Tensor, keys: Storage, values: Storage, lengths: list[int]
    ) -> None:
        """Take storage.

        Args:
            numbers: (U,) which of the layer's units these are.
            keys: of the prompts, the longest's S entries wide.
            values: likewise.
            lengths: entries of each unit.
        """
        self.numbers = numbers
        self.num_new = 0
        self._keys, self._values = keys, values
        self._lengths, self._longest = lengths, max(lengths)
        self._filling = self._mask()

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write (U, Q, D) new entries behind all others."""
        self._keys.write(self.num_new, keys)
        self._values.write(self.num_new, values)
        self.num_new += keys.shape[1]

    def rewind(self) -> None:
        """Forget what came after the prompts."""
        self.num_new = 0

    def remove(self, unit: int, entry: int) -> None:
        """Remove an entry, counted from the unit's first; those before it move up."""
        start = self._longest - self._lengths[unit]
        self._keys.shift(unit, start, start + entry)
        self._values.shift(unit, start, start + entry)
        self._lengths[unit] -= 1
        self._filling = self._mask()

    @property
    def lengths(self) -> list[int]:
        """Entries of each unit, new ones included."""
        return [length + self.num_new for length in self._lengths]

    @property
    def allocated_bytes(self) -> int:
        """Of keys and values, room and filling included."""
        return self._keys.allocated_bytes + self._values.allocated_bytes

    def attend(
        self, queries: torch.Tensor, scaling: float, window: int | None = None
    ) -> torch.Tensor:
        """Return what (U, G, Q, D) queries, of the last Q tokens, take from the entries.

        Args:
            queries: after rotation.
            scaling: of the products.
            window: how many tokens back a query sees, its own included; None for all.
        """
        num_units, _, num_queries, _ = queries.shape
        keys, values = self._keys.read(self.num_new), self._values.read(self.num_new)
        # Entries are ordered by position and end with the queries' own, so what is visible
        # follows from where they lie.
        mask = None
        if num_queries > 1 or window is not None:
            mask = causal(num_queries, keys.shape[1], keys.device, window)
            mask = mask.repeat(queries.shape[1], 1)[None, None]
        if self._filling is not None:
            seen = functional.pad(self._filling, (0, self.num_new), value=True)[:, None, None]
            mask = seen if mask is None else mask & seen
        # All queries of a unit read the same keys: one head of G x Q queries.
        taken = functional.scaled_dot_product_attention(
            queries.flatten(1, 2)[:, None], keys[:, None], values[:, None], mask, scale=scaling
        )
        return taken.view(num_units, -1, num_queries, values.shape[-1])

    def _mask(self) -> torch.Tensor | None:
        """Return which of the prompts' places hold an entry, (U, S); None if all do."""
        if min(self._lengths) == self._longest:
            return None
        device = self.numbers.device
        places = torch.arange(self._longest, device=device)
        start = self._longest - torch.tensor(self._lengths, device=device)
        return places[None] >= start[:, None]
