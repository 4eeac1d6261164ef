"""Stores entries in memory: as the model made them, or quantised.

Shapes: U heads (key heads of all rows), S entries of the prompt, T room for new tokens, D width,
G entries of a quantisation group.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import torch

GROUP = 32
"""Entries of a key channel that share a scale, as in KIVI (Liu et al., 2024, arXiv:2402.02750)."""

Precision = Literal["model", "int8", "int4"]
_BITS = {"int8": 8, "int4": 4}


class Quantised(NamedTuple):
    """Entries as they are stored: whole * scale + least, rounded to the model's precision.

    ``whole`` is uint8. Two integers of 4 bits share a byte, along the last axis, the first in the
    lower half.
    """

    whole: torch.Tensor
    """Keys: (U, groups, D, G or G / 2), groups counted from the last entry, so that the first
    group begins with filling. Values: (U, S, D or D / 2)."""
    scale: torch.Tensor
    """float16. Keys: (U, groups, D, 1). Values: (U, S, 1)."""
    least: torch.Tensor
    """Likewise."""
    bits: int
    num_entries: int
    """S."""


class Storage(Protocol):
    """Keys, or values, of some heads: S of the prompt, then up to T new ones."""

    def write(self, start: int | torch.Tensor, entries: torch.Tensor) -> None:
        """Write (U, Q, D) new entries.

        Args:
            start: where, counted from the first new one; where Q is 1, it may be on a device: (1,).
            entries: in the model's precision.
        """
        ...

    def read(self, num_new: int) -> torch.Tensor:
        """Return (U, S + num_new, D) in the model's precision."""
        ...

    def read_new(self, num_new: int) -> torch.Tensor:
        """Return (U, num_new, D), a view."""
        ...

    def clear(self, num_new: int) -> None:
        """Fill the room behind the new entries with zeros."""
        ...

    @property
    def quantised(self) -> Quantised | None:
        """The prompt's entries as they are stored, where that is not in the model's precision."""
        ...

    def shift(self, unit: int, start: int, end: int) -> None:
        """Move a head's entries [start, end) up one place, overwriting the entry at ``end``."""
        ...

    def keep(self, units: torch.Tensor) -> None:
        """Drop all heads but these, which are renumbered in the order given."""
        ...

    def grow(self, num_entries: int) -> None:
        """Make room for so many more new entries."""
        ...

    @property
    def allocated_bytes(self) -> int:
        """Bytes of all tensors, room and padding included."""
        ...


def store(pieces: Sequence[torch.Tensor], room: int, precision: Precision, axis: str) -> Storage:
    """Store copies of the entries of some prompts.

    Args:
        pieces: (m, n, D) each, n > 0, for U heads in all; shorter ones are padded on the left.
        room: T.
        precision: how to store.
        axis: what is quantised together: "channel" (keys) or "token" (values).
    """
    if precision == "model":
        return DenseStorage(_filled(pieces, room), room)
    entries, bits = _filled(pieces, room=0), _BITS[precision]
    if axis == "channel":
        return QuantisedStorage(_by_channel(entries), bits, entries, room)
    return QuantisedStorage(entries, bits, entries, room)


def entry_bytes(num_entries: int, width: int, element_bytes: int, precision: Precision) -> int:
    """Return the bytes of n entries of a head, keys and values, scales included."""
    if precision == "model":
        return 2 * num_entries * width * element_bytes
    payload = 2 * num_entries * width * _BITS[precision] // 8
    num_scales = -(-num_entries // GROUP) * width + num_entries
    return payload + num_scales * 4  # scale and minimum, two bytes each


class DenseStorage:
    """One tensor in the model's precision, with room for what follows."""

    def __init__(self, entries: torch.Tensor, room: int) -> None:
        """Take (U, S + T, D) entries, of which the last T are still to be written."""
        self._entries, self._num_old = entries, entries.shape[1] - room

    def write(self, start: int | torch.Tensor, entries: torch.Tensor) -> None:
        """Write in place."""
        _write(self._entries[:, self._num_old :], start, entries)

    def read(self, num_new: int) -> torch.Tensor:
        """Return a view."""
        return self._entries[:, : self._num_old + num_new]

    def read_new(self, num_new: int) -> torch.Tensor:
        """Return a view."""
        return self._entries[:, self._num_old : self._num_old + num_new]

    def clear(self, num_new: int) -> None:
        """Fill in place."""
        self._entries[:, self._num_old + num_new :] = 0

    @property
    def quantised(self) -> None:
        """None: nothing is quantised."""

    def shift(self, unit: int, start: int, end: int) -> None:
        """Move entries of a head."""
        self._entries[unit, start + 1 : end + 1] = self._entries[unit, start:end].clone()

    def keep(self, units: torch.Tensor) -> None:
        """Copy what stays."""
        self._entries = self._entries.index_select(0, units)

    def grow(self, num_entries: int) -> None:
        """Copy to a longer tensor."""
        self._entries = longer(self._entries, num_entries)

    @property
    def allocated_bytes(self) -> int:
        """Of the tensor."""
        return self._entries.nbytes


class QuantisedStorage:
    """Integers with a scale and a minimum for each group; new tokens are not quantised.

    Asymmetric: x is about minimum + q * scale, q in [0, 2^bits). New tokens stay in the model's
    precision, like KIVI's residual.
    """

    def __init__(self, grouped: torch.Tensor, bits: int, entries: torch.Tensor, room: int) -> None:
        """Quantise along the last axis of ``grouped``, a rearrangement of (U, S, D) entries."""
        units, self._num_old, width = entries.shape
        self._dtype, self._bits = entries.dtype, bits
        self._by_channel = grouped is not entries
        least, most = grouped.float().aminmax(dim=-1, keepdim=True)
        self._least = least.to(torch.float16)
        scale = (most - self._least.float()) / (2**bits - 1)
        self._scale = scale.clamp(min=2.0**-24).to(torch.float16)
        steps = (grouped.float() - self._least.float()) / self._scale.float()
        whole = steps.round_().clamp_(0, 2**bits - 1).to(torch.uint8)
        self._whole = whole if bits == 8 else whole[..., ::2] | (whole[..., 1::2] << 4)
        self._new = entries.new_empty(units, room, width)

    def write(self, start: int | torch.Tensor, entries: torch.Tensor) -> None:
        """Write in place."""
        _write(self._new, start, entries)

    def read(self, num_new: int) -> torch.Tensor:
        """Return a copy."""
        whole = self._whole
        if self._bits == 4:
            whole = torch.stack([whole & 15, whole >> 4], dim=-1).flatten(-2)
        values = whole.float() * self._scale.float() + self._least.float()
        if self._by_channel:
            values = values.transpose(-1, -2).flatten(1, 2)[:, -self._num_old :]
        return torch.cat([values.to(self._dtype), self._new[:, :num_new]], dim=1)

    def read_new(self, num_new: int) -> torch.Tensor:
        """Return a view."""
        return self._new[:, :num_new]

    def clear(self, num_new: int) -> None:
        """Fill in place."""
        self._new[:, num_new:] = 0

    @property
    def quantised(self) -> Quantised:
        """The prompt's entries as they are stored."""
        return Quantised(self._whole, self._scale, self._least, self._bits, self._num_old)

    def shift(self, unit: int, start: int, end: int) -> None:
        """Refuse: quantised entries share scales with neighbours, so they cannot move alone."""
        raise NotImplementedError("a quantised cache cannot remove entries while it decodes")

    def keep(self, units: torch.Tensor) -> None:
        """Copy what stays."""
        self._whole, self._scale, self._least, self._new = (
            tensor.index_select(0, units)
            for tensor in (self._whole, self._scale, self._least, self._new)
        )

    def grow(self, num_entries: int) -> None:
        """Copy the new entries to a longer tensor."""
        self._new = longer(self._new, num_entries)

    @property
    def allocated_bytes(self) -> int:
        """Of all tensors."""
        tensors = (self._whole, self._scale, self._least, self._new)
        return sum(tensor.nbytes for tensor in tensors)


def _write(room: torch.Tensor, start: int | torch.Tensor, entries: torch.Tensor) -> None:
    if isinstance(start, torch.Tensor):
        room.index_copy_(1, start, entries)
    else:
        room[:, start : start + entries.shape[1]] = entries


def longer(entries: torch.Tensor, num_entries: int) -> torch.Tensor:
    """Return (..., S, D) entries with room for more behind them."""
    *heads, size, width = entries.shape
    found = entries.new_empty(*heads, size + num_entries, width)
    found[..., :size, :] = entries
    return found


def _filled(pieces: Sequence[torch.Tensor], room: int) -> torch.Tensor:
    """Return (U, S + T, D) entries, shorter pieces padded on the left with their first entry."""
    longest, width = max(piece.shape[1] for piece in pieces), pieces[0].shape[2]
    filled = pieces[0].new_empty(sum(map(len, pieces)), longest + room, width)
    start = 0
    for piece in pieces:
        mine = filled[start : start + len(piece)]
        lacking = longest - piece.shape[1]
        mine[:, lacking:longest] = piece
        if lacking:
            mine[:, :lacking] = piece[:, :1]
        start += len(piece)
    return filled


def _by_channel(entries: torch.Tensor) -> torch.Tensor:
    """Return (U, groups, D, G) of (U, S, D), groups counted from the last entry.

    The first group is padded with its first entry, which changes neither minimum nor maximum, so
    the result for an entry does not depend on how far its head was padded.
    """
    lacking = -entries.shape[1] % GROUP
    filled = torch.cat([entries[:, :1].expand(-1, lacking, -1), entries], dim=1)
    return filled.unflatten(1, (-1, GROUP)).transpose(-1, -2)
