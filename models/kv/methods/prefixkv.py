"""PrefixKV: every layer keeps the same share of its attention, so layers keep different numbers.

Wang et al., PrefixKV: Adaptive Prefix KV Cache is What Vision Instruction-Following Models Need for
Efficient Generation, 2024 (arXiv:2412.03409), sec. 3: tokens are ordered by the attention that they
receive from the whole prompt, averaged over heads; P_l(k) is the share of a layer's attention that
its first k tokens hold; one p for all layers with k_l(p) = min {k: P_l(k) >= p} meets the budget.
The first and the last token always stay.

The authors search p by bisection. Here the same p comes from sorting: the k-th token of a layer
stays if P_l(k - 1) < p, so a budget of n tokens takes the n smallest P_l(k - 1) of all layers. That
always ends, and the budget comes out exact.

``mode: paper`` does what the authors' code does beyond the paper's text: the next token's position
follows from the first layer's entries, and while decoding each layer gives up one entry a step at a
fixed place, so that the budget also holds for the answer.

A causal model's first token is seen by all N queries of a prompt and its last by one, so attention
received in total, the paper's measure, favours early tokens whatever they say. ``importance: mean``
divides it by the number of queries that see a token, N - j for the token at j.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from encodeonce.models.kv.cache import Eviction
from encodeonce.models.kv.method import KVMethod
from encodeonce.models.kv.prefixkv_profile import Profile, load_profile
from encodeonce.models.kv.selection import Selection, spread, top, uniform_count
from encodeonce.models.kv.spec import PositionPolicy
from encodeonce.models.kv.statistics import LayerStatistics, Needs, PromptStatistics

NUM_PROTECTED = 2
"""The first and the last token."""
DISTANCE = 25
"""Distance of the fixed place before the prompt's last entry, in the authors' code."""


class PrefixKV(KVMethod):
    """The layers' shares are searched for each prompt, or come from a profile."""

    display_name: ClassVar[str] = "PrefixKV"

    mode: Literal["exact", "paper"] = Field(
        default="exact",
        description="'exact': true positions, only the prompt is compressed; 'paper': positions "
        "and eviction while decoding as in the authors' code.",
    )
    importance: Literal["sum", "mean"] = Field(
        default="sum",
        description="'sum': the attention that a token receives in total, as in the paper; 'mean': "
        "divided by the number of tokens that see it, since early ones are seen by more.",
    )
    profile: str | None = Field(
        default=None,
        description="File of `encodeonce calibrate prefixkv`; without one, prompts are searched.",
    )

    @model_validator(mode="after")
    def _fits_its_profile(self) -> Self:
        if self.profile is not None and self.importance != "sum":
            raise ValueError(
                f"profile goes with importance: sum, by which `encodeonce calibrate prefixkv` "
                f"shares out the budget; got importance: {self.importance}. Leave one of them out"
            )
        return self

    @property
    def needs(self) -> Needs:
        """The attention that each token receives."""
        return Needs(column_sums=True)

    @property
    def positions(self) -> PositionPolicy:
        """Behind the first layer's entries in the authors' code."""
        return "compressed" if self.mode == "paper" else "original"

    def check_model(self, checkpoint_sha256: str) -> None:
        """Refuse a profile of another model."""
        if self._profile is not None:
            self._profile.check_model(checkpoint_sha256)

    def plan(self, prompt: PromptStatistics, keep: float) -> Sequence[Selection]:
        """Keep the same share of attention in every layer, or a profile's number of tokens."""
        importance = [self._importance(layer) for layer in prompt.layers]
        total = uniform_count(prompt.num_tokens, keep) * len(prompt.layers)
        if self._profile is None:
            counts = search(importance, total)
        else:
            shares = self._profile.shares(keep, len(prompt.layers))
            counts = spread(shares, total, *_bounds(prompt.num_tokens))
        return [
            _selection(layer, scores, count)
            for layer, scores, count in zip(prompt.layers, importance, counts, strict=True)
        ]

    def eviction(self, num_tokens: int, kept: Sequence[int], keep: float) -> Eviction | None:
        """Return the fixed-point elimination of the authors' code."""
        return FixedPoint(num_tokens, tuple(kept)) if self.mode == "paper" else None

    def _importance(self, layer: LayerStatistics) -> torch.Tensor:
        """Return what each token is worth to a layer, (N,) float32."""
        received = layer.column_sums.mean(0)
        if self.importance == "sum":
            return received
        return received / torch.arange(len(received), 0, -1, device=received.device)

    @cached_property
    def _profile(self) -> Profile | None:
        return None if self.profile is None else load_profile(self.profile)


def search(importance: Sequence[torch.Tensor], total: int) -> list[int]:
    """Return how many tokens each layer keeps, so that all keep the same share of attention.

    Args:
        importance: attention that each token receives, (N,) for each layer.
        total: tokens to keep, over all layers; at least two a layer are.
    """
    num_layers, num_tokens = len(importance), len(importance[0])
    least, most = _bounds(num_tokens)
    total = max(total, least * num_layers)
    ordered = torch.stack(list(importance)).double().sort(-1, descending=True).values
    share = ordered.cumsum(-1) / ordered.sum(-1, keepdim=True)
    before = share - ordered / ordered.sum(-1, keepdim=True)  # P_l(k - 1)
    num_free = most - least
    thresholds = before[:, :num_free].flatten()
    chosen = thresholds.sort(stable=True).indices[: total - least * num_layers]
    layers = chosen.div(max(1, num_free), rounding_mode="floor")
    return (least + layers.bincount(minlength=num_layers)).tolist()


def _bounds(num_tokens: int) -> tuple[int, int]:
    return min(NUM_PROTECTED, num_tokens), num_tokens


def _selection(layer: LayerStatistics, scores: torch.Tensor, count: int) -> Selection:
    protected = scores.clone()
    protected[[0, -1]] = float("inf")
    return top(protected, count).expand(layer.num_kv_heads, -1)


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Each layer keeps its share of prompt and answer; entries go at a fixed place."""

    num_tokens: int
    kept: tuple[int, ...]

    def entry(self, layer: int, num_entries: int, num_new: int) -> int | None:
        """Return the entry at the fixed place if the layer holds more than its share."""
        kept = self.kept[layer]
        if num_entries <= (self.num_tokens + num_new) * kept / self.num_tokens:
            return None
        place = kept - DISTANCE
        return place if place >= 1 else kept // 2


METHOD = PrefixKV
