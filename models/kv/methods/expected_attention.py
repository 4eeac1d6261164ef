"""Expected Attention: the tokens that future queries are expected to attend to stay.

Devoto et al., Expected Attention: KV Cache Compression by Estimating Attention from Future Queries
Distribution, 2025 (arXiv:2510.00636). The queries before rotation are taken as normal, with the
mean and covariance of the prompt's; rotated by the mean rotation R of the coming positions, a key k
expects exp(k.mu / sqrt(D) + k' Sigma k / 2D), normalised over the tokens, times its value's norm.
"""

from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch.nn import functional

from encodeonce.models.kv.method import KVMethod
from encodeonce.models.kv.observe import rotate
from encodeonce.models.kv.selection import Selection, top, uniform_count
from encodeonce.models.kv.statistics import LayerStatistics, Needs, PromptStatistics


class ExpectedAttention(KVMethod):
    """Needs no particular query; a question matters only as part of the prompt's tokens."""

    display_name: ClassVar[str] = "Expected Attention"

    num_future: int = Field(default=512, ge=1, description="Number of future positions, in tokens.")
    num_sinks: int = Field(default=4, ge=0, description="First tokens that always stay.")
    epsilon: float = Field(
        default=0.0, ge=0.0, description="Added to the expected attention before the value's norm."
    )

    @property
    def needs(self) -> Needs:
        """Moments of the queries after the sinks."""
        return Needs(query_moments=frozenset({self.num_sinks}))

    def plan(self, prompt: PromptStatistics, keep: float) -> list[Selection]:
        """Keep the best of each head."""
        count = uniform_count(prompt.num_tokens, keep)
        first = prompt.num_tokens
        device = prompt.is_visual.device
        cos, sin = prompt.rotary(torch.arange(first, first + self.num_future, device=device))
        rotation = mean_rotation(cos.float(), sin.float())
        key = self.key
        return [
            top(layer.once(key, partial(self.scores, layer, rotation)), count)
            for layer in prompt.layers
        ]

    def scores(self, layer: LayerStatistics, rotation: torch.Tensor) -> torch.Tensor:
        """Return expected attention times value norms (K, N); sinks rank first."""
        moments = layer.moments(self.num_sinks)
        mean = moments.mean @ rotation.T
        covariance = rotation @ moments.covariance @ rotation.T
        keys = layer.keys[:, self.num_sinks :].float()
        width = keys.shape[-1]
        grouped_mean = mean.unflatten(0, (layer.num_kv_heads, -1))
        grouped_cov = covariance.unflatten(0, (layer.num_kv_heads, -1))
        logits = torch.einsum("knd,kgd->kgn", keys, grouped_mean) / width**0.5
        spread = torch.einsum("knd,kgde->kgne", keys, grouped_cov)
        logits = logits + (spread * keys[:, None]).sum(-1) / (2 * width)
        expected = logits.softmax(-1).mean(1)
        norms = layer.values[:, self.num_sinks :].float().norm(dim=-1)
        scores = (expected + self.epsilon) * norms
        return functional.pad(scores, (self.num_sinks, 0), value=float(scores.max()) + 1.0)


def mean_rotation(cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Return the mean (D, D) of the rotations by cos and sin (n, D)."""
    identity = torch.eye(cos.shape[-1], device=cos.device)
    return rotate(identity, cos.mean(0), sin.mean(0)).T


METHOD = ExpectedAttention
