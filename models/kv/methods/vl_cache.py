"""VL-Cache: budgets by the sparsity of a layer's attention, scores by what the text attends to.

Tu et al., VL-Cache: Sparsity and Modality-Aware KV Cache Compression for Vision-Language Model
Inference Acceleration, 2024 (arXiv:2410.23317), sec. 4: of the attention of the tokens behind the
pictures ("post-vision"), entries below 1 % of their row's largest count as zero; a layer's budget
is in proportion to its fraction of others. A token's score is the post-vision attention that it
receives, the same for all heads of a layer. Budgets here come out exact.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field

from encodeonce.models.kv.attention import causal
from encodeonce.models.kv.method import KVMethod
from encodeonce.models.kv.selection import Selection, spread, top, uniform_count
from encodeonce.models.kv.statistics import LayerStatistics, PromptStatistics


class VLCache(KVMethod):
    """Needs the question: without one there is no post-vision attention."""

    display_name: ClassVar[str] = "VL-Cache"
    needs_question: ClassVar[bool] = True

    threshold: float = Field(
        default=0.01, gt=0.0, lt=1.0, description="Fraction of a row's largest that counts as zero."
    )
    recent: float = Field(
        default=0.1, ge=0.0, le=1.0, description="Fraction of a layer's budget for its last tokens."
    )

    def plan(self, prompt: PromptStatistics, keep: float) -> Sequence[Selection]:
        """Keep more where attention is dense."""
        total = uniform_count(prompt.num_tokens, keep) * len(prompt.layers)
        density = [
            layer.once((self.key, "density"), partial(self.density, layer))
            for layer in prompt.layers
        ]
        counts = spread(torch.stack(density).tolist(), total, least=1, most=prompt.num_tokens)
        return [
            self._selection(layer, count)
            for layer, count in zip(prompt.layers, counts, strict=True)
        ]

    def density(self, layer: LayerStatistics) -> torch.Tensor:
        """Return the fraction of post-vision attention that does not count as zero, ()."""
        attention = self._attention(layer)
        num_queries, num_keys = attention.shape[-2:]
        visible = causal(num_queries, num_keys, attention.device)
        largest = attention.amax(-1, keepdim=True)
        counted = (attention >= self.threshold * largest) & visible
        return counted.sum() / (visible.sum() * len(attention))

    def _selection(self, layer: LayerStatistics, count: int) -> Selection:
        scores = layer.once((type(self), "received"), partial(self._received, layer)).clone()
        num_recent = int(count * self.recent)
        scores[layer.num_tokens - num_recent :] = float("inf")
        return top(scores, count).expand(layer.num_kv_heads, -1)

    def _received(self, layer: LayerStatistics) -> torch.Tensor:
        return self._attention(layer).sum(1).mean(0)

    def _attention(self, layer: LayerStatistics) -> torch.Tensor:
        return layer.attention(layer.num_tokens - layer.num_prefix)


METHOD = VLCache
