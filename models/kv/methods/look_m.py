"""LOOK-M: text has priority over pictures, and entries that go are merged into those that stay.

Wan et al., LOOK-M: Look-Once Optimization in KV Cache for Efficient Multimodal Long-Context
Inference, 2024 (arXiv:2406.18139), sec. 3: attention accumulated over the prompt, raised for text
tokens above that of all visual ones (text prior); the last tokens always stay; each entry that goes
is merged into the entry with the most similar key (pivotal merging): the mean of the two, averaged
with the entry itself and all others merged there. As in the authors' code, the first four tokens
stay.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from encodeonce.models.kv.method import KVMethod
from encodeonce.models.kv.selection import Entries, Selection, gather, taken, top, uniform_count
from encodeonce.models.kv.statistics import LayerStatistics, Needs, PromptStatistics


class LookM(KVMethod):
    """Merges entries, which then no longer belong to single tokens."""

    display_name: ClassVar[str] = "LOOK-M"
    merges: ClassVar[bool] = True

    recent: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Fraction of the budget for the last tokens."
    )
    num_sinks: int = Field(default=4, ge=0, description="First tokens that always stay.")

    @property
    def needs(self) -> Needs:
        """The attention that each token receives."""
        return Needs(column_sums=True)

    def plan(self, prompt: PromptStatistics, keep: float) -> Sequence[Selection]:
        """Keep the last tokens, then sinks, text, and the pictures' heavy hitters."""
        count = uniform_count(prompt.num_tokens, keep)
        return [self._selection(layer, prompt.is_visual, count) for layer in prompt.layers]

    def _selection(self, layer: LayerStatistics, is_visual: torch.Tensor, count: int) -> Selection:
        scores = layer.column_sums
        ceiling = scores.max() + 1.0
        scores = torch.where(is_visual, scores, scores + ceiling)
        scores[:, : self.num_sinks] += 2 * ceiling
        num_recent = int(count * self.recent)
        scores[:, layer.num_tokens - num_recent :] += 4 * ceiling
        return top(scores, count)

    def apply(
        self, layer: LayerStatistics, selection: Selection, is_visual: torch.Tensor
    ) -> Entries:
        """Merge the entries that go into those that stay."""
        assert isinstance(selection, torch.Tensor)
        keys, values = layer.keys, layer.values
        goes = torch.ones(keys.shape[:2], dtype=torch.bool, device=keys.device)
        goes.scatter_(1, selection, value=False)
        gone = goes.nonzero()[:, 1].view(len(keys), -1)
        if not gone.numel():
            return gather(keys, values, selection)
        kept_keys, gone_keys = taken(keys, selection), taken(keys, gone)
        nearest = _similarity(gone_keys, kept_keys).argmax(-1)
        return Entries(
            keys=_merged(kept_keys, gone_keys, nearest),
            values=_merged(taken(values, selection), taken(values, gone), nearest),
            indices=selection,
        )


def _similarity(gone: torch.Tensor, stays: torch.Tensor) -> torch.Tensor:
    """Return cosine similarities (K, m, n) of (K, m, D) with (K, n, D)."""
    gone, stays = gone.float(), stays.float()
    products = gone @ stays.transpose(-1, -2)
    return products / gone.norm(dim=-1)[..., None] / stays.norm(dim=-1)[:, None]


def _merged(stays: torch.Tensor, gone: torch.Tensor, nearest: torch.Tensor) -> torch.Tensor:
    """Return (K, n, D) entries with (K, m, D) others merged into those at ``nearest`` (K, m)."""
    index = nearest[..., None].expand(-1, -1, stays.shape[-1])
    halves = (gone.float() + stays.float().gather(1, index)) / 2
    merged = stays.float().scatter_reduce(1, index, halves, reduce="mean", include_self=True)
    return merged.to(stays.dtype)


METHOD = LookM
