"""Watches a model's attention while it prefills, to collect what KV methods ask for.

Shapes: B rows, H heads of queries, K heads of keys, P tokens of the prefix, Q of the question
(padded on the left), S keys, D width of a head.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from encodeonce.models.kv.attention import (
    attending,
    attention_modules,
    hide_future,
    products,
    text_module,
    usual_attention,
)
from encodeonce.models.kv.statistics import ModuleInputs, Moments, Needs, Rotary
from encodeonce.models.language.prefix import AllLayersFilled

NAME = "encodeonce_observed"
_LEAST_BLOCK = 2**18
"""Most elements of scores held at a time, or a quarter of the layer's keys if that is more:
watching should not raise the peak of memory."""


@dataclass(slots=True)
class Seen:
    """The inputs of a layer's attention in one forward pass."""

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    scaling: float
    column_sums: torch.Tensor | None = None
    unrotated: torch.Tensor | None = None
    """The kept queries before rotation, float32."""
    moments: Mapping[int, Moments] = field(default_factory=dict)
    """Moments of the only row, by the number of first tokens left out."""
    inputs: ModuleInputs | None = None


class Observation:
    """A forward pass, layer by layer; only the first pass through each layer counts."""

    def __init__(
        self,
        needs: Needs,
        *,
        num_kept_queries: int,
        num_kept_keys: int,
        ends_pass: bool = False,
    ) -> None:
        """Make an observation.

        Args:
            needs: what to compute.
            num_kept_queries: number of last queries to keep.
            num_kept_keys: number of last keys and values to keep.
            ends_pass: whether the pass ends, by `AllLayersFilled`, once the last layer is seen.
        """
        self._needs = needs
        self._num_queries, self._num_keys = num_kept_queries, num_kept_keys
        self._ends_pass = ends_pass
        self._seen: dict[int, Seen] = {}
        self._inputs: dict[int, ModuleInputs] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Watch a model inside the block. What it computes does not change by a bit."""
        usual = usual_attention(model)
        last = attention_modules(model)[-1].layer_idx

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
            if self._ends_pass and module.layer_idx == last:
                raise AllLayersFilled
            return usual(module, query, key, value, attention_mask, **kwargs)

        hooks = [
            module.register_forward_pre_hook(self._note_inputs, with_kwargs=True)
            for module in attention_modules(model)
            if self._needs.query_moments or self._needs.inputs
        ]
        try:
            with attending(model, NAME, attend, with_masks=True):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def layer(self, number: int) -> Seen:
        """Return what was seen of a layer."""
        return self._seen[number]

    def _note_inputs(self, module: Any, args: Any, kwargs: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        cos, sin = kwargs["position_embeddings"]
        self._inputs[module.layer_idx] = ModuleInputs(
            module=module, hidden=hidden, cos=cos, sin=sin
        )

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
        seen = Seen(
            queries=_last(queries, self._num_queries),
            keys=_last(keys, self._num_keys),
            values=_last(values, self._num_keys),
            scaling=scaling,
        )
        if self._needs.column_sums:
            seen.column_sums = _column_sums(queries, keys, mask, scaling)
        inputs = self._inputs.pop(layer, None)
        if self._needs.inputs:
            seen.inputs = inputs
        if self._needs.query_moments:
            assert inputs is not None
            before = unrotate(queries, inputs.cos, inputs.sin)
            seen.unrotated = _last(before, self._num_queries)
            if len(before) == 1:
                seen.moments = {
                    skipped: Moments.of(before[0, :, skipped:])
                    for skipped in self._needs.query_moments
                    if skipped < before.shape[2]
                }
        self._seen[layer] = seen


def _last(states: torch.Tensor, count: int) -> torch.Tensor:
    """Return the last of (B, H, n, D): a copy, which keeps nothing else alive."""
    return states[:, :, max(0, states.shape[2] - count) :].clone()


def _column_sums(
    queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """Return the attention that each key receives, (B, K, S) float32: mean over a group's heads.

    Exact, in blocks of queries.
    """
    num_rows, num_heads, num_queries, _ = queries.shape
    num_kv_heads, num_keys = keys.shape[1:3]
    held = max(_LEAST_BLOCK, keys.numel() // 4)
    block = max(1, held // (num_rows * num_heads * num_keys))
    sums = torch.zeros(num_rows, num_kv_heads, num_keys, device=keys.device)
    for start in range(0, num_queries, block):
        end = min(start + block, num_queries)
        # Without a mask, keys behind the block's last query are not visible.
        num_seen = num_keys if mask is not None else num_keys - num_queries + end
        scores = products(queries[:, :, start:end], keys[:, :, :num_seen], scaling)
        if mask is None:
            hide_future(scores)
        elif mask.dtype == torch.bool:
            scores.masked_fill_(~mask[:, :, None, start:end], float("-inf"))
        else:
            scores += mask[:, :, None, start:end]
        sums[..., :num_seen] += scores.softmax(-1).sum((2, 3)) / (num_heads // num_kv_heads)
    return sums


def rotate_half(states: torch.Tensor) -> torch.Tensor:
    """Return (..., D) rotated by 90 degrees in the rotary planes (halves convention)."""
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
