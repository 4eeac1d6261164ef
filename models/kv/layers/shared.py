"""One layer of rows that continue the same prefix uncompressed: the prefix is held, and read, once.

Shapes: B rows, K heads of keys, H heads of queries, P tokens of the prefix, Q new tokens, T room
for the rows' own tokens, D width of a head.
"""

from collections.abc import Sequence

import torch

from encodeonce.models.kv.attention import causal
from encodeonce.models.kv.kernels.parts import Part, attend_part, bias_of, union
from encodeonce.models.kv.kernels.transfer import upload
from encodeonce.models.kv.layers.units import LEAST_GROWTH
from encodeonce.models.kv.storage import longer


class SharedLayer:
    """A prefix's keys and values, which are only looked at, and the rows' own behind them."""

    is_compileable = False
    is_sliding = False
    window: int | None = None
    can_be_fixed = True

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
        self._starts = upload(paddings, keys.device) if any(paddings) else None
        self._num_new = 0
        self._at: torch.Tensor | None = None
        self._bias: torch.Tensor | None = None
        shape = (len(paddings), self.num_heads, room, keys.shape[-1])
        self._keys = keys.new_empty(shape)
        self._values = values.new_empty((*shape[:-1], values.shape[-1]))

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write (B, K, Q, D) new entries behind all others."""
        end = self._num_new + keys.shape[2]
        if self._at is None:
            if end > self._room:
                self.grow(end - self._room)
            self._keys[:, :, self._num_new : end] = keys
            self._values[:, :, self._num_new : end] = values
        else:
            assert self._bias is not None
            self._keys.index_copy_(2, self._at, keys)
            self._values.index_copy_(2, self._at, values)
            self._bias.index_fill_(-1, self._at, 0.0)
        self._num_new = end

    def fix(self, at: torch.Tensor) -> None:
        """Keep to the same shapes from now on: attend to all the room, and hide what is vacant.

        Args:
            at: (1,) where the next token is to be written; a device counts there.
        """
        self._at = at
        self._hide_vacant()

    def advance(self) -> None:
        """Take note that a token was written without `append`, by a replayed step."""
        self._num_new += 1

    @property
    def room_left(self) -> int:
        """Tokens that can be appended without growing."""
        return self._room - self._num_new

    def grow(self, num_tokens: int) -> None:
        """Make room for at least so many more tokens."""
        more = max(num_tokens, LEAST_GROWTH)
        self._keys = longer(self._keys, more)
        self._values = longer(self._values, more)
        if self._at is not None:
            self._hide_vacant()

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
        if self._at is None:
            bias = self._bias_of_last(num_queries, queries.shape[1] // self.num_heads, queries)
            size = self._num_new
        else:
            bias, size = self._bias, self._room
        own = attend_part(
            grouped, self._keys[:, :, :size], self._values[:, :, :size], scaling, bias
        )
        taken = union([Part(output.transpose(0, 1), log_sum.transpose(0, 1)), own])
        return taken.reshape(num_rows, -1, num_queries, taken.shape[-1]).transpose(1, 2)

    @property
    def _room(self) -> int:
        return self._keys.shape[2]

    def _bias_of_last(
        self, num_queries: int, num_groups: int, like: torch.Tensor
    ) -> torch.Tensor | None:
        """Return what hides own tokens from the last Q: (B or 1, 1, groups x Q, own); None: all."""
        if num_queries == 1 and self._starts is None:
            return None
        visible = causal(num_queries, self._num_new, like.device)[None]
        if self._starts is not None:
            places = torch.arange(self._num_new, device=like.device)
            # Padding sees itself: a softmax over nothing would not be a number.
            own = torch.arange(self._num_new - num_queries, self._num_new, device=like.device)
            is_own = places[None] == own[:, None]
            visible = visible & ((places >= self._starts[:, None])[:, None] | is_own)
        return bias_of(visible.repeat(1, num_groups, 1)[:, None], like.dtype)

    def _hide_vacant(self) -> None:
        """Hide padding, and the room in which nothing has been written yet: (B or 1, 1, 1, T)."""
        # What is hidden still has to be a number: nothing times infinity is none.
        self._keys[:, :, self._num_new :] = 0
        self._values[:, :, self._num_new :] = 0
        places = torch.arange(self._room, device=self._keys.device)
        visible = (places < self._num_new)[None]
        if self._starts is not None:
            visible = visible & (places >= self._starts[:, None])
        self._bias = bias_of(visible[:, None, None], self._keys.dtype)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows; these are renumbered in the order given."""
        chosen = upload(rows, self._keys.device)
        self._paddings = [self._paddings[row] for row in rows]
        self._keys = self._keys.index_select(0, chosen)
        self._values = self._values.index_select(0, chosen)
        if self._starts is not None:
            self._starts = upload(self._paddings, chosen.device) if any(self._paddings) else None
        if self._at is not None:
            self._hide_vacant()

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
