"""One layer of rows that continue the same prefix uncompressed: the prefix is held, and read, once.

Shapes: B rows, K heads of keys, H heads of queries, P tokens of the prefix, Q new tokens, T room
for the rows' own tokens, D width of a head.
"""

from collections.abc import Sequence

import torch

from encodeonce.models.kv.attention import causal
from encodeonce.models.kv.partial_attention import Part, attend_part, union
from encodeonce.models.kv.ragged_rows import LEAST_GROWTH
from encodeonce.models.kv.storage import longer


class SharedLayer:
    """A prefix's keys and values, which are only looked at, and the rows' own behind them."""

    is_compileable = False
    is_sliding = False
    window: int | None = None

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, paddings: Sequence[int], room: int
    ) -> None:
        """Look at a prefix.

        Args:
            keys: (K, P, D); not copied, never written to.
            values: (K, P, D).
            paddings: for each row, how many of its first own tokens are to be masked.
            room: own tokens to make room for; more are possible.
        """
        self.num_heads = len(keys)
        self._prefix = keys[None], values[None]
        self._paddings = list(paddings)
        self._num_new = 0
        shape = (len(paddings), self.num_heads, room, keys.shape[-1])
        self._keys = keys.new_empty(shape)
        self._values = values.new_empty((*shape[:-1], values.shape[-1]))

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write (B, K, Q, D) new entries behind all others."""
        end = self._num_new + keys.shape[2]
        if end > self._keys.shape[2]:
            self.grow(end - self._keys.shape[2])
        self._keys[:, :, self._num_new : end] = keys
        self._values[:, :, self._num_new : end] = values
        self._num_new = end

    def grow(self, num_tokens: int) -> None:
        """Make room for at least so many more tokens."""
        more = max(num_tokens, LEAST_GROWTH)
        self._keys = longer(self._keys, more)
        self._values = longer(self._values, more)

    def attend(self, queries: torch.Tensor, scaling: float) -> torch.Tensor:
        """Return the attention output (B, Q, H, D) of (B, H, Q, D) queries of the last Q tokens."""
        num_rows, num_queries, width = len(queries), queries.shape[2], queries.shape[3]
        grouped = queries.reshape(
            num_rows, self.num_heads, -1, width
        )  # K heads of H / K x Q queries
        # Everyone's queries side by side, so that the prefix is read once.
        together = grouped.transpose(0, 1).reshape(1, self.num_heads, -1, width)
        prefix = attend_part(together, *self._prefix, scaling)
        output = prefix.output.reshape(self.num_heads, num_rows, -1, prefix.output.shape[-1])
        log_sum = prefix.log_sum.reshape(self.num_heads, num_rows, -1)
        own = attend_part(
            grouped,
            self._keys[:, :, : self._num_new],
            self._values[:, :, : self._num_new],
            scaling,
            self._visible(num_queries, queries.shape[1] // self.num_heads, queries.device),
        )
        taken = union([Part(output.transpose(0, 1), log_sum.transpose(0, 1)), own])
        return taken.reshape(num_rows, -1, num_queries, taken.shape[-1]).transpose(1, 2)

    def _visible(
        self, num_queries: int, num_groups: int, device: torch.device
    ) -> torch.Tensor | None:
        """Return which own tokens the last Q see, bool (B or 1, 1, groups x Q, own); None: all."""
        if num_queries == 1 and not any(self._paddings):
            return None
        visible = causal(num_queries, self._num_new, device)[None]
        if any(self._paddings):
            places = torch.arange(self._num_new, device=device)
            starts = torch.tensor(self._paddings, device=device)
            # Padding sees itself: a softmax over nothing would not be a number.
            own = torch.arange(self._num_new - num_queries, self._num_new, device=device)
            is_own = places[None] == own[:, None]
            visible = visible & ((places >= starts[:, None])[:, None] | is_own)
        return visible.repeat(1, num_groups, 1)[:, None]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows; these are renumbered in the order given."""
        self._paddings = [self._paddings[row] for row in rows]
        self._keys, self._values = self._keys[list(rows)], self._values[list(rows)]

    def rewind(self) -> None:
        """Forget the rows' own tokens."""
        self._num_new = 0

    def remove(self, row: int, entry: int) -> None:
        """Refuse: others look at the prefix too."""
        raise NotImplementedError("an uncompressed cache does not remove entries")

    def length(self, row: int) -> int:
        """Return a row's entries in each head, padding not counted."""
        return self._prefix[0].shape[2] + self._num_new - self._paddings[row]

    @property
    def allocated_bytes(self) -> int:
        """Of the rows' own tensors, room included; the prefix belongs to others."""
        return self._keys.nbytes + self._values.nbytes
