"""Controls: entries are kept at random, the same ones for the same prompt length and seed."""

from typing import ClassVar

import torch
from pydantic import Field

from encodeonce.models.kv.method import ScoringMethod
from encodeonce.models.kv.statistics import LayerStatistics


class Random(ScoringMethod):
    """Any method worth using should do better."""

    display_name: ClassVar[str] = "random"

    seed: int = Field(default=0, ge=0, description="Seed of the random numbers.")
    shared: bool = Field(
        default=False,
        description="Keep the same tokens in every head and layer. Drawn apart, a token that one "
        "head loses mostly survives in another, which makes a stronger control.",
    )

    def scores(self, layer: LayerStatistics, is_visual: torch.Tensor) -> torch.Tensor:
        """Return random scores (K, N)."""
        shape = (layer.num_kv_heads, layer.num_tokens)
        if self.shared:
            generator = torch.Generator().manual_seed(self.seed)
            scores = torch.rand(layer.num_tokens, generator=generator).expand(shape).contiguous()
        else:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + layer.layer)
            scores = torch.rand(*shape, generator=generator)
        return scores.to(layer.query_parts[0].device)


METHOD = Random
