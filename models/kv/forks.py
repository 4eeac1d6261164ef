"""Forks: prompts with compressed caches, ready to be decoded in one batch.

Shapes: N tokens of a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from encodeonce.models.answer import KVUse
from encodeonce.models.kv.cache import Eviction
from encodeonce.models.kv.selection import Entries
from encodeonce.models.kv.spec import PositionPolicy
from encodeonce.models.kv.storage import Precision, entry_bytes
from encodeonce.models.language.activation import Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class KVLayer:
    """One layer of a fork."""

    entries: Entries
    window: int | None
    """How many tokens back it sees; None for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkBytes:
    """Bytes of a fork's cache when its prompt has been read."""

    kept: Sequence[int]
    """By layer, as stored."""
    kept_visual: int
    full: Sequence[int]
    """By layer, in the model's precision."""
    full_visual: int
    token: int
    """Of one more token, in all layers."""
    entry: int
    """Of one entry of one head."""

    def after(self, num_fed: int = 0, num_removed: int = 0) -> KVUse:
        """Return the use after some more tokens, and after entries were removed while decoding."""
        fed_bytes = num_fed * self.token
        return KVUse(
            full_bytes=sum(self.full),
            kept_bytes=sum(self.kept),
            kept_visual_bytes=self.kept_visual,
            full_visual_bytes=self.full_visual,
            full_end_bytes=sum(self.full) + fed_bytes,
            end_bytes=sum(self.kept) + fed_bytes - num_removed * self.entry,
            keep_by_layer=tuple(
                mine / whole for mine, whole in zip(self.kept, self.full, strict=True)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """One prompt under one setting."""

    layers: Sequence[KVLayer]
    is_visual: torch.Tensor
    """(N,) bool, over the tokens that the entries' indices refer to."""
    precision: Precision
    positions: PositionPolicy
    eviction: Eviction | None
    adapter: int
    """Under which the prompt was read, and has to be continued."""
    activation: Activation | None = None
    """Where in a question that is still to be read it begins."""

    @property
    def num_tokens(self) -> int:
        """N."""
        return len(self.is_visual)

    def measure(self, num_more: int) -> "ForkBytes":
        """Return the bytes of its cache; synchronises.

        Args:
            num_more: tokens of the prompt beyond ``is_visual``, all kept: the question's, where
                the prefix alone was compressed.
        """
        kept, visual, full, full_visual = [], 0.0, [], 0
        pair_bytes, num_heads = 0, 0
        windows = {layer.window for layer in self.layers}
        held = {window: self._held(window) for window in windows}
        for layer, num_visual in zip(self.layers, self._num_visual(), strict=True):
            keys = layer.entries.keys
            width, size = keys[0].shape[-1], keys[0].element_size()
            pair_bytes, num_heads = 2 * width * size, len(keys)
            lengths = layer.entries.lengths
            mine = [entry_bytes(length, width, size, self.precision) for length in lengths]
            kept.append(sum(mine) + num_more * num_heads * pair_bytes)
            visual += sum(
                head_bytes * count / length
                for head_bytes, count, length in zip(mine, num_visual, lengths, strict=True)
            )
            num_held, num_held_visual = held[layer.window]
            full.append((num_held + num_more) * num_heads * pair_bytes)
            full_visual += num_held_visual * num_heads * pair_bytes
        return ForkBytes(
            kept=kept,
            kept_visual=round(visual),
            full=full,
            full_visual=full_visual,
            token=num_heads * pair_bytes * len(self.layers),
            entry=pair_bytes,
        )

    def _held(self, window: int | None) -> tuple[int, int]:
        """Return the tokens that a full layer holds, and how many of them are visual."""
        held = self.is_visual[-(window or self.num_tokens) :]
        return len(held), int(held.sum())

    def _num_visual(self) -> list[list[int]]:
        """Return the number of visual entries of each layer's heads; synchronises once."""
        counts = [
            self.is_visual[indices].sum(-1)
            if isinstance(indices, torch.Tensor)
            else torch.stack([self.is_visual[head].sum() for head in indices])
            for indices in (layer.entries.indices for layer in self.layers)
        ]
        found = iter(torch.cat(counts).tolist())
        return [list(islice(found, len(count))) for count in counts]
