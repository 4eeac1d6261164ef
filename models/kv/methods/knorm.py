"""Knorm: keys of small norm attract attention, so they stay.

Devoto et al., A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression, 2024
(arXiv:2406.11430).
"""

from typing import ClassVar

import torch

from encodeonce.models.kv.method import ScoringMethod
from encodeonce.models.kv.statistics import LayerStatistics


class Knorm(ScoringMethod):
    """Needs the keys alone."""

    display_name: ClassVar[str] = "Knorm"

    def scores(self, layer: LayerStatistics, is_visual: torch.Tensor) -> torch.Tensor:
        """Return the negative L2 norm of each key, (K, N)."""
        return -layer.keys.float().norm(dim=-1)


METHOD = Knorm
