"""AdaKV: the heads of a layer share its budget; those with flatter attention get more.

Feng et al., Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget Allocation for Efficient LLM
Inference, 2024 (arXiv:2407.11550), Algorithm 1: the best entries of all heads together, with a
part of the budget safe in each head. Entries are really dropped, head by head.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field

from encodeonce.datasets.refusals import checked
from encodeonce.models.kv.method import KVMethod, ScoringMethod
from encodeonce.models.kv.registry import method_class
from encodeonce.models.kv.selection import Selection, uniform_count
from encodeonce.models.kv.statistics import Needs, PromptStatistics


class AdaKV(KVMethod):
    """Any scoring method, with budgets by head."""

    display_name: ClassVar[str] = "AdaKV"

    base: Literal["snapkv", "knorm", "keydiff"] = Field(
        default="snapkv", description="Method whose scores are compared."
    )
    window: int = Field(default=64, ge=1, description="SnapKV's observation window, in tokens.")
    safe: float = Field(
        default=0.2, ge=0.0, le=1.0, description="Fraction of the mean budget each head is sure of."
    )

    @property
    def needs(self) -> Needs:
        """The base method's needs."""
        return self._scoring().needs

    def plan(self, prompt: PromptStatistics, keep: float) -> list[Selection]:
        """Keep each layer's best entries, regardless of head."""
        count = uniform_count(prompt.num_tokens, keep)
        return [self._selection(scores, count) for scores in self._scoring().all_scores(prompt)]

    def _selection(self, scores: torch.Tensor, count: int) -> Selection:
        num_safe = max(1, int(count * self.safe))
        scores = scores.clone()
        scores.scatter_(-1, scores.topk(num_safe, dim=-1).indices, float("inf"))
        chosen = scores.flatten().topk(count * len(scores)).indices
        stays = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
        stays[chosen] = True
        return [head.nonzero()[:, 0] for head in stays.view_as(scores)]

    def _scoring(self) -> ScoringMethod:
        options = {"window": self.window} if self.base == "snapkv" else {}
        found = checked(method_class(self.base), options)
        assert isinstance(found, ScoringMethod)
        return found


METHOD = AdaKV
