"""SnapKV: the tokens that the prompt's last ones attend to stay, with their neighbours.

Li et al., SnapKV: LLM Knows What You are Looking for Before Generation, 2024 (arXiv:2404.14469),
Listing 1. The attention that a token receives from the last ``window`` tokens is pooled over
neighbours; the window itself always stays.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch.nn import functional

from encodeonce.models.kv.method import ScoringMethod
from encodeonce.models.kv.statistics import LayerStatistics, Needs


class SnapKV(ScoringMethod):
    """Scores by an observation window at the prompt's end."""

    display_name: ClassVar[str] = "SnapKV"

    window: int = Field(default=64, ge=1, description="Last tokens that are observed and kept.")
    kernel: int = Field(
        default=5, ge=1, description="Neighbours that share their attention: odd, in tokens."
    )

    @property
    def needs(self) -> Needs:
        """The window's queries, even where the question is shorter."""
        return Needs(num_last_queries=self.window)

    def scores(self, layer: LayerStatistics, is_visual: torch.Tensor) -> torch.Tensor:
        """Return pooled attention (K, N); the window's own tokens rank first."""
        window = min(self.window, layer.num_tokens - 1)
        received = layer.attention(window)[..., : layer.num_tokens - window].mean(1)
        pooled = functional.avg_pool1d(received, self.kernel, padding=self.kernel // 2, stride=1)
        scores = pooled.unflatten(0, (-1, layer.num_groups)).mean(1)
        return functional.pad(scores, (0, window), value=float(scores.max()) + 1.0)


METHOD = SnapKV
