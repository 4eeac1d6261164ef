"""KeyDiff: keys unlike the average key stay.

Park et al., KeyDiff: Key Similarity-Based KV Cache Eviction for Long-Context LLM Inference in
Resource-Constrained Environments, 2025 (arXiv:2504.15364), eq. 4, in one go over the prompt.
"""

from typing import ClassVar

import torch
from torch.nn import functional

from encodeonce.models.kv.method import ScoringMethod
from encodeonce.models.kv.statistics import LayerStatistics


class KeyDiff(ScoringMethod):
    """Needs the keys alone."""

    display_name: ClassVar[str] = "KeyDiff"

    def scores(self, layer: LayerStatistics, is_visual: torch.Tensor) -> torch.Tensor:
        """Return the negative cosine similarity to the mean of the normalised keys, (K, N)."""
        keys = layer.keys.float()
        anchor = functional.normalize(keys, dim=-1).mean(1, keepdim=True)
        return -functional.cosine_similarity(keys, anchor, dim=-1)


METHOD = KeyDiff
