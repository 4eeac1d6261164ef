"""Lets a test's own function compute a model's attention."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from encodeonce.models.kv.attention import attention_modules, text_module


@contextmanager
def attending_by(model: Any, name: str, attend: Callable[..., Any]) -> Iterator[None]:
    """Let ``attend`` compute the attention of a language model, with sdpa's masks."""
    configs = {id(m.config): m.config for m in [*attention_modules(model), text_module(model)]}
    ALL_ATTENTION_FUNCTIONS.register(name, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    before = [config._attn_implementation for config in configs.values()]
    for config in configs.values():
        config._attn_implementation = name
    yield
    for config, its in zip(configs.values(), before, strict=True):
        config._attn_implementation = its
