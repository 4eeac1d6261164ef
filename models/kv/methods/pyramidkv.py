"""PyramidKV: SnapKV with more entries in lower layers, fewer in higher ones.

Cai et al., PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling, 2024
(arXiv:2406.02069), sec. 4.2: budgets fall linearly over the layers. As in the authors' code and in
kvpress, the slope follows from ``beta``, and where the pyramid does not fit (a window that the
highest layer could not hold, a ratio near one) all layers get the same.
"""

from typing import ClassVar

from pydantic import Field

from encodeonce.models.kv.methods.snapkv import SnapKV
from encodeonce.models.kv.selection import Selection, top
from encodeonce.models.kv.statistics import PromptStatistics


class PyramidKV(SnapKV):
    """The budget is met over all layers, not in each."""

    display_name: ClassVar[str] = "PyramidKV"

    beta: int = Field(default=20, ge=1, description="Steepness of the pyramid.")

    def plan(self, prompt: PromptStatistics, keep: float) -> list[Selection]:
        """Keep the best of each head, in numbers that fall from layer to layer."""
        counts = self.budgets(prompt.num_tokens, len(prompt.layers), keep)
        return [
            top(scores, count)
            for scores, count in zip(self.all_scores(prompt), counts, strict=True)
        ]

    def budgets(self, num_tokens: int, num_layers: int, keep: float) -> list[int]:
        """Return the entries of each layer."""
        mean = num_tokens * keep
        least = mean / self.beta
        most = 2 * mean - least
        if most >= num_tokens - self.window:
            most = num_tokens - self.window
            least = 2 * mean - most
        if not num_tokens >= most >= least >= self.window:
            return [max(1, round(mean))] * num_layers
        step = (most - least) / (num_layers - 1) if num_layers > 1 else 0.0
        return [round(most - number * step) for number in range(num_layers)]


METHOD = PyramidKV
