"""TOVA: the tokens that the last one attends to stay.

Oren et al., Transformers are Multi-State RNNs, 2024 (arXiv:2401.06104), sec. 3.2: attention of the
last token, averaged over heads, so that all heads keep the same tokens. The last token stays.
"""

from typing import ClassVar

import torch
from torch.nn import functional

from encodeonce.models.kv.method import ScoringMethod
from encodeonce.models.kv.statistics import LayerStatistics, Needs


class TOVA(ScoringMethod):
    """Scores by one query."""

    display_name: ClassVar[str] = "TOVA"

    @property
    def needs(self) -> Needs:
        """The last query."""
        return Needs(num_last_queries=1)

    def scores(self, layer: LayerStatistics, is_visual: torch.Tensor) -> torch.Tensor:
        """Return the last token's attention, the same for all heads, (K, N)."""
        received = layer.attention(1)[:, 0, :-1].mean(0)
        scores = functional.pad(received, (0, 1), value=float(received.max()) + 1.0)
        return scores.expand(layer.num_kv_heads, -1)


METHOD = TOVA
