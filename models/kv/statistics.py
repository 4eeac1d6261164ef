"""The statistics of a prompt that KV methods may ask for.

Everything is taken at the attention interface from queries and keys after rotation, blockwise:
the N x N matrix of attention is never held.

Shapes: L layers, H heads of queries, K heads of keys, N prompt tokens, P tokens of the shared
prefix, Q tokens of the question, W last queries (W >= Q), D width of a head.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from encodeonce.models.kv.attention import probabilities

Rotary = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Returns cos and sin, each (n, D), of text at n positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The statistics that a method needs besides keys, values and the question's queries."""

    column_sums: bool = False
    """The attention that each token receives from all tokens."""
    query_moments: frozenset[int] = frozenset()
    """Numbers of first tokens left out: for each, the mean and covariance of the queries before
    rotation."""
    num_last_queries: int = 0
    """Number of the prompt's last queries, where the question is shorter."""
    inputs: bool = False
    """Whether the attention modules' inputs are needed: for methods of other libraries."""

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            column_sums=self.column_sums or other.column_sums,
            query_moments=self.query_moments | other.query_moments,
            num_last_queries=max(self.num_last_queries, other.num_last_queries),
            inputs=self.inputs or other.inputs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mean and covariance of the queries before rotation, over n tokens of a prompt."""

    num_tokens: int
    mean: torch.Tensor
    """(H, D) float32."""
    covariance: torch.Tensor
    """(H, D, D) float32, divided by n."""

    @classmethod
    def of(cls, unrotated: torch.Tensor) -> "Moments":
        """Return the moments of (H, n, D) queries."""
        count = unrotated.shape[1]
        mean = unrotated.mean(1)
        centred = unrotated - mean[:, None]
        covariance = torch.matmul(centred.transpose(-1, -2), centred) / count
        return cls(num_tokens=count, mean=mean, covariance=covariance)

    def joined(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of tokens together (Chan et al., 1979)."""
        total = self.num_tokens + other.num_tokens
        a, b = self.num_tokens / total, other.num_tokens / total
        delta = other.mean - self.mean
        between = delta[..., :, None] * delta[..., None, :] * (a * b)
        return Moments(
            num_tokens=total,
            mean=a * self.mean + b * other.mean,
            covariance=a * self.covariance + b * other.covariance + between,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleInputs:
    """The inputs of a layer's attention module."""

    module: Any
    """Of transformers."""
    hidden: torch.Tensor
    """(B, n, model width)."""
    cos: torch.Tensor
    """(B, n, D)."""
    sin: torch.Tensor
    """(B, n, D)."""


@dataclass(frozen=True, kw_only=True)
class LayerStatistics:
    """One layer's part of one prompt: views of others' tensors, and small results.

    It lives until every setting has compressed the layer, so it holds nothing as large as keys.
    """

    layer: int
    parts: Sequence[tuple[torch.Tensor, torch.Tensor]]
    """Keys after rotation and values, (K, n, D) each, of prefix and question."""
    query_parts: Sequence[torch.Tensor]
    """(H, n, D) each, after rotation: the prompt's last queries, all of the question's included."""
    num_prefix: int
    """P: tokens before the question."""
    scaling: float
    prefix_column_sums: torch.Tensor | None = None
    """(K, P) float32: attention received from the prefix's own queries, mean over the heads that
    share a key head. None unless asked for."""
    prefix_moments: Mapping[int, Moments] = field(default_factory=dict)
    """By the number of first tokens left out, for each number asked for."""
    question_unrotated: torch.Tensor | None = None
    """(H, Q, D): the question's queries before rotation. None unless moments were asked for."""
    inputs: Callable[[], ModuleInputs] | None = None
    """Returns the inputs for the whole prompt, B = 1, as a new copy. None unless asked for."""
    _once: dict[Hashable, torch.Tensor] = field(default_factory=dict)

    def once(self, key: Hashable, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the result of ``compute``, computed once for all budgets.

        Args:
            key: method, options and the kind of result.
            compute: returns a tensor of the size of scores, (K, N), which nobody may write to.
        """
        if key not in self._once:
            self._once[key] = compute()
        return self._once[key]

    @property
    def keys(self) -> torch.Tensor:
        """(K, N, D), after rotation; not to be written to. A copy, where there is a question."""
        return _joined([keys for keys, _ in self.parts])

    @property
    def values(self) -> torch.Tensor:
        """(K, N, D); not to be written to. A copy, where there is a question."""
        return _joined([values for _, values in self.parts])

    @property
    def queries(self) -> torch.Tensor:
        """(H, W, D); not to be written to. A copy, where there is a question."""
        return _joined(self.query_parts)

    @property
    def num_tokens(self) -> int:
        """N."""
        return sum(keys.shape[1] for keys, _ in self.parts)

    @property
    def num_kv_heads(self) -> int:
        """K."""
        return self.parts[0][0].shape[0]

    @property
    def num_groups(self) -> int:
        """Query heads per key head."""
        return self.query_parts[0].shape[0] // self.num_kv_heads

    def moments(self, num_skipped: int) -> Moments:
        """Return the moments of the queries without the first ``num_skipped``."""
        found = self.prefix_moments[num_skipped]
        if self.question_unrotated is None:
            return found
        return found.joined(Moments.of(self.question_unrotated))

    def attention(self, num_queries: int) -> torch.Tensor:
        """Return the attention of the last ``num_queries`` tokens, float32 (H, W, N).

        Where fewer queries were collected, the attention of those.
        """
        queries = self.queries
        last = queries[:, -min(num_queries, queries.shape[1]) :]
        return probabilities(last, self.keys, self.scaling)

    @cached_property
    def column_sums(self) -> torch.Tensor:
        """Attention received from all queries, float32 (K, N); mean over the heads of a group."""
        assert self.prefix_column_sums is not None, "not declared in Needs"
        num_question = self.num_tokens - self.num_prefix
        shape = (self.num_kv_heads, self.num_tokens)
        sums = torch.zeros(shape, device=self.prefix_column_sums.device)
        sums[:, : self.num_prefix] = self.prefix_column_sums
        if num_question:
            received = self.attention(num_question).sum(1)
            sums += received.unflatten(0, (-1, self.num_groups)).mean(1)
        return sums


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


@dataclass(frozen=True, kw_only=True)
class PromptStatistics:
    """A prompt after its prefill, before anything is removed."""

    layers: Sequence[LayerStatistics]
    """The layers that may be compressed; sliding-window layers are bounded anyway."""
    is_visual: torch.Tensor
    """(N,) bool."""
    rotary: Rotary
    """Of text that follows; position N is the next token's."""

    @property
    def num_tokens(self) -> int:
        """N."""
        return len(self.is_visual)
