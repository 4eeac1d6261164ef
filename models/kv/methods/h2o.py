"""H2O: heavy hitters, tokens that have received much attention, stay beside the most recent ones.

Zhang et al., H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models,
2023 (arXiv:2306.14048), Algorithm 1, in one go over the prompt: attention accumulated over all
queries of the prompt, for each head of keys. Early tokens are seen by more queries and so favoured.
"""

from typing import ClassVar

from pydantic import Field

from encodeonce.models.kv.method import KVMethod
from encodeonce.models.kv.selection import Selection, top, uniform_count
from encodeonce.models.kv.statistics import LayerStatistics, Needs, PromptStatistics


class H2O(KVMethod):
    """Accumulated attention."""

    display_name: ClassVar[str] = "H2O"

    recent: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Fraction of the budget for the last tokens."
    )

    @property
    def needs(self) -> Needs:
        """The attention that each token receives."""
        return Needs(column_sums=True)

    def plan(self, prompt: PromptStatistics, keep: float) -> list[Selection]:
        """Keep the last tokens and, of the others, each head's heavy hitters."""
        count = uniform_count(prompt.num_tokens, keep)
        return [self._selection(layer, count) for layer in prompt.layers]

    def _selection(self, layer: LayerStatistics, count: int) -> Selection:
        num_recent = min(count, int(count * self.recent))
        scores = layer.column_sums.clone()
        scores[:, layer.num_tokens - num_recent :] = float("inf")
        return top(scores, count)


METHOD = H2O
