"""A control: entries are kept at random, the same ones for the same prompt length and seed."""

from typing import ClassVar

import torch
from pydantic import Field

from encodeonce.models.kv.method import ScoringMethod
from encodeonce.models.kv.statistics import LayerStatistics


class Random(ScoringMethod):
    """Any method worth using should do better."""

    display_name: ClassVar[str] = "random"

    seed: int = Field(default=0, ge=0, description="Seed of the random numbers.")

    def scores(self, layer: LayerStatistics, is_visual: torch.Tensor) -> torch.Tensor:
        """Return random scores (K, N)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + layer.layer)
        scores = torch.rand(layer.num_kv_heads, layer.num_tokens, generator=generator)
        return scores.to(layer.query_parts[0].device)


METHOD = Random
