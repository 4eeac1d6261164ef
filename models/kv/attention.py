"""Installs our own functions at transformers' attention interface, inside a context manager.

At that interface every architecture's queries and keys arrive after rotation, whatever its
normalisation or rotary variant, so this code is independent of the architecture.

Shapes: B rows, H heads of queries, K heads of keys, Q new tokens, S keys, D width of a head.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

Attention = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]


def attention_modules(model: nn.Module) -> list[Any]:
    """Return the language model's attention modules, by layer."""
    found = [
        module
        for module in model.modules()
        if hasattr(module, "layer_idx") and hasattr(module, "config") and hasattr(module, "k_proj")
    ]
    return sorted(found, key=lambda module: module.layer_idx)


def text_module(model: nn.Module) -> Any:
    """Return the language model's stack of layers, which makes their masks and rotations."""
    (found,) = [
        module
        for module in model.modules()
        if hasattr(module, "layers") and hasattr(module, "rotary_emb")
    ]
    return found


@contextmanager
def attending(
    model: nn.Module, name: str, function: Attention, *, with_masks: bool
) -> Iterator[None]:
    """Let ``function`` compute the attention of a language model.

    Args:
        model: of transformers.
        name: under which the function is registered with transformers meanwhile.
        function: takes the arguments of transformers' attention functions.
        with_masks: whether the model still makes its usual masks; else it makes none.
    """
    configs = {id(module.config): module.config for module in attention_modules(model)}
    config = text_module(model).config
    configs[id(config)] = config
    before = {key: config._attn_implementation for key, config in configs.items()}
    ALL_ATTENTION_FUNCTIONS[name] = function
    masks: dict[str, Any] = ALL_MASK_ATTENTION_FUNCTIONS._global_mapping
    if with_masks:
        (usual,) = set(before.values())
        if usual in masks:
            masks[name] = masks[usual]
    try:
        for config in configs.values():
            config._attn_implementation_internal = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation_internal = before[key]
        del ALL_ATTENTION_FUNCTIONS[name]
        masks.pop(name, None)


def usual_attention(model: nn.Module) -> Attention:
    """Return the attention function that a model uses now."""
    first = attention_modules(model)[0]
    name = first.config._attn_implementation
    if name == "eager":  # each model's file has its own
        return sys.modules[type(first).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS[name]


def probabilities(
    queries: torch.Tensor, keys: torch.Tensor, scaling: float, window: int | None = None
) -> torch.Tensor:
    """Return attention of the last Q tokens (H, Q, D) over S keys (K, S, D): float32 (H, Q, S)."""
    scores = products(queries[None], keys[None], scaling)[0]
    hide_future(scores, window)
    return scores.softmax(-1).flatten(0, 1)


def products(queries: torch.Tensor, keys: torch.Tensor, scaling: float) -> torch.Tensor:
    """Return scaled products of (B, H, Q, D) queries and (B, K, S, D) keys.

    Returns:
        float32 (B, K, H / K, Q, S).
    """
    grouped = queries.unflatten(1, (keys.shape[1], -1))
    # One product per key head: broadcasting the keys to the query heads takes far longer.
    found = torch.matmul(grouped.flatten(2, 3), keys.transpose(-1, -2)).float().mul_(scaling)
    return found.unflatten(2, grouped.shape[2:4])


def hide_future(scores: torch.Tensor, window: int | None = None) -> None:
    """Set the scores (..., Q, S) that the last Q of S tokens may not see to -inf, in place."""
    num_queries = scores.shape[-2]
    if window is None:  # all may see the keys before the first of them
        scores = scores[..., -num_queries:]
    hidden = ~causal(num_queries, scores.shape[-1], scores.device, window)
    scores.masked_fill_(hidden, float("-inf"))


def causal(
    num_queries: int, num_keys: int, device: torch.device, window: int | None = None
) -> torch.Tensor:
    """Return the mask of what the last Q of S tokens may see, bool (Q, S)."""
    own = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    others = torch.arange(num_keys, device=device)[None]
    visible = others <= own
    return visible if window is None else visible & (others > own - window)
