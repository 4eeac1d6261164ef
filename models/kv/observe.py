"""Watching a model's attention while it prefills, to collect what KV methods ask for.

Shapes: B rows, H heads of queries, K heads of keys, P tokens of the prefix, Q of the question
(filled up on the left), S keys, D width of a head.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from encodeonce.models.kv.attention import (
    attending,
    attention_modules,
    causal,
    text_module,
    usual_attention,
)
from encodeonce.models.kv.statistics import Moments, Needs, Rotary

NAME = "encodeonce_observed"
_BLOCK_ELEMENTS = 2**23
"""Elements of the scores that are held at a time: 32 MiB of float32."""


@dataclass(slots=True)
class Seen:
    """What a layer's attention was given in one forward pass."""

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    scaling: float
    column_sums: torch.Tensor | None = None
    unrotated: torch.Tensor | None = None
    """The kept queries before rotation, float32."""
    moments: Mapping[int, Moments] = field(default_factory=dict)
    """Of the only row, by the number of first tokens left out."""


class Observation:
    """A forward pass, layer by layer; only the first pass through each layer counts."""

    def __init__(
        self,
        needs: Needs,
        *,
        num_kept_queries: int,
        num_kept_keys: int,
        whole_layers: Collection[int] = (),
    ) -> None:
        """Say what to keep.

        Args:
            needs: what to compute.
            num_kept_queries: keep so many of the last queries.
            num_kept_keys: keep so many of the last keys and values.
            whole_layers: keep all keys and values of these.
        """
        self._needs = needs
        self._num_queries, self._num_keys = num_kept_queries, num_kept_keys
        self._whole_layers = whole_layers
        self._seen: dict[int, Seen] = {}
        self._rotation: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Watch a model for a while. What it computes does not change by a bit."""
        usual = usual_attention(model)

        def attend(
            module: Any,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            attention_mask: torch.Tensor | None,
            **kwargs: Any,
        ) -> tuple[torch.Tensor, torch.Tensor | None]:
            if module.layer_idx not in self._seen:
                self._see(module, query, key, value, attention_mask, kwargs.get("scaling"))
            return usual(module, query, key, value, attention_mask, **kwargs)

        hooks = [
            module.register_forward_pre_hook(self._note_rotation, with_kwargs=True)
            for module in attention_modules(model)
            if self._needs.query_moments
        ]
        try:
            with attending(model, NAME, attend, with_masks=True):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def layers(self) -> Sequence[Seen]:
        """What was seen, by layer."""
        return [self._seen[layer] for layer in sorted(self._seen)]

    def _note_rotation(self, module: Any, args: Any, kwargs: Any) -> None:
        self._rotation[module.layer_idx] = kwargs["position_embeddings"]

    def _see(
        self,
        module: Any,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float | None,
    ) -> None:
        scaling = queries.shape[-1] ** -0.5 if scaling is None else scaling
        layer: int = module.layer_idx
        num_keys = keys.shape[2] if layer in self._whole_layers else self._num_keys
        seen = Seen(
            queries=_last(queries, self._num_queries),
            keys=_last(keys, num_keys),
            values=_last(values, num_keys),
            scaling=scaling,
        )
        if self._needs.column_sums:
            seen.column_sums = _column_sums(queries, keys, mask, scaling)
        if self._needs.query_moments:
            before = unrotate(queries, *self._rotation.pop(layer))
            seen.unrotated = _last(before, self._num_queries)
            if len(before) == 1:
                seen.moments = {
                    skipped: moments(before[0, :, skipped:])
                    for skipped in self._needs.query_moments
                    if skipped < before.shape[2]
                }
        self._seen[layer] = seen


def _last(states: torch.Tensor, count: int) -> torch.Tensor:
    """Return the last of (B, H, n, D): a copy, which holds on to nothing else."""
    return states[:, :, max(0, states.shape[2] - count) :].clone()


def _column_sums(
    queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """Return the attention that each key receives, (B, K, S) float32: a mean over a group's heads.

    Exact, in blocks of queries.
    """
    num_rows, num_heads, num_queries, _ = queries.shape
    num_kv_heads, num_keys = keys.shape[1:3]
    visible = causal(num_queries, num_keys, keys.device) if mask is None else mask
    block = max(1, _BLOCK_ELEMENTS // (num_rows * num_heads * num_keys))
    sums = torch.zeros(num_rows, num_kv_heads, num_keys, device=keys.device)
    for start in range(0, num_queries, block):
        some = queries[:, :, start : start + block].unflatten(1, (num_kv_heads, -1))
        scores = torch.matmul(some, keys[:, :, None].transpose(-1, -2)).float() * scaling
        allowed = visible[..., start : start + block, :]
        if mask is not None:
            allowed = allowed[:, :, None]
        if allowed.dtype == torch.bool:
            scores = scores.masked_fill(~allowed, float("-inf"))
        else:
            scores = scores + allowed
        sums += scores.softmax(-1).sum(-2).mean(2)
    return sums


def rotate_half(states: torch.Tensor) -> torch.Tensor:
    """Return (..., D) turned by a quarter in the planes of rotary embedding (halves convention)."""
    first, second = states.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


def unrotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Return (B, H, n, D) float32 before rotary embedding by cos and sin (B, n, D).

    Some rotary variants scale cos and sin; that is undone too.
    """
    cos, sin = cos[:, None].float(), sin[:, None].float()
    states = states.float()
    return (states * cos - rotate_half(states) * sin) / (cos**2 + sin**2)


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Return (..., n, D) after rotary embedding by cos and sin (n, D)."""
    return states * cos + rotate_half(states) * sin


def moments(unrotated: torch.Tensor) -> Moments:
    """Return the moments of (H, n, D) queries."""
    mean = unrotated.mean(1)
    centred = unrotated - mean[:, None]
    covariance = torch.matmul(centred.transpose(-1, -2), centred) / unrotated.shape[1]
    return Moments(num_tokens=unrotated.shape[1], mean=mean, covariance=covariance)


def text_rotary(model: nn.Module, offset: int) -> Rotary:
    """Return cos and sin of text by index, as the language model computes them.

    Args:
        model: of transformers.
        offset: from a token's index to its position.
    """
    rotary: Any = text_module(model).rotary_emb
    has_three_axes = "mrope_section" in (getattr(rotary.config, "rope_parameters", None) or {})
    types = getattr(rotary, "layer_types", None)

    def at(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ids = positions[None] + offset
        if has_three_axes:
            ids = ids[None].expand(3, -1, -1)
        example = torch.zeros(1, device=positions.device)
        extra = ("full_attention",) if types else ()
        cos, sin = rotary(example, ids, *extra)
        return cos[0], sin[0]

    return at
