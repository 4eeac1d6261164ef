"""What a setting keeps and answers, against a press of kvpress run by kvpress's own hooks.

kvpress's way is one prefill of the whole prompt under the press, whose hooks cut the cache, and
decoding from what is left.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from encodeonce.models.kv.attention import attention_modules
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.language.likelihood import extended_inputs
from encodeonce.models.spec import GenerationSpec
from tests.asking import swept
from tests.contracts.forks import Forks
from tests.contracts.logits import NotedLogits, Tokens, assert_close

LONG = GenerationSpec(max_new_tokens=4)


@contextmanager
def told_where(model: Any) -> Iterator[None]:
    """Give attention modules the argument by which kvpress knows a prefill, which is no more."""

    def tell(module: Any, args: Any, kwargs: Any) -> Any:
        where = torch.arange(kwargs["hidden_states"].shape[1])
        return args, {**kwargs, "cache_position": where}

    hooks = [
        module.register_forward_pre_hook(tell, with_kwargs=True)
        for module in attention_modules(model)
    ]
    yield
    for hook in hooks:
        hook.remove()


def theirs(decoder: Any, prefix: Any, press: Any, question: str, answer: Any) -> tuple[Any, Any]:
    """Return kvpress's cache after the prompt, and its logits (T, V) before each token."""
    model = decoder.model
    inputs = extended_inputs(model, prefix.opening.inputs, prefix.suffix(question))
    num_tokens = inputs["attention_mask"].shape[1]
    cache = DynamicCache(config=model.config.get_text_config())
    with torch.inference_mode():
        with told_where(model), press(model):
            output = model(**inputs, past_key_values=cache, use_cache=True)
        modules = attention_modules(model)
        kept = [_left(layer, module) for layer, module in zip(cache.layers, modules, strict=True)]
        logits = [output.logits[0, -1]]
        for step, token in enumerate(answer[:-1]):
            output = model(
                input_ids=torch.tensor([[token]]),
                position_ids=torch.tensor([[num_tokens + step]]),
                past_key_values=cache,
                use_cache=True,
            )
            logits.append(output.logits[0, -1])
    for module in modules:
        module.masked_key_indices = None
    return kept, torch.stack(logits)


def _left(layer: Any, module: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return keys and values (n, D) of each head: where heads keep different numbers, kvpress
    masks what goes instead of cutting it off.
    """
    stays = torch.ones(layer.keys.shape[1:3], dtype=torch.bool)
    if (masked := getattr(module, "masked_key_indices", None)) is not None:
        _, heads, tokens = masked
        stays[heads, tokens] = False
    return [
        (keys[chosen], values[chosen])
        for keys, values, chosen in zip(layer.keys[0], layer.values[0], stays, strict=True)
    ]


def assert_same(
    decoder: Any,
    visuals: Sequence[Any],
    question: str,
    presses: Sequence[tuple[KVSpec, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compare what settings keep, and their answers' logits, with those of kvpress's presses."""
    noted, forks = NotedLogits(monkeypatch), Forks(monkeypatch)
    found = swept(decoder, visuals, [question], LONG, [setting for setting, _ in presses])
    prefix = decoder.prefill(visuals)
    for (_, press), (answer,), fork in zip(presses, found, forks.made, strict=True):
        kept, logits = theirs(decoder, prefix, press, question, answer.token_ids)
        for by_head, layer in zip(kept, fork.layers, strict=True):
            if layer.window is not None:  # kvpress leaves these alone too
                continue
            for head, (keys, values) in enumerate(by_head):
                order = _matched(layer.entries.keys[head], keys)
                torch.testing.assert_close(
                    values[order], layer.entries.values[head], rtol=1e-4, atol=1e-5
                )
        ours = noted.of(answer)
        assert_close(ours, Tokens(ours.token_ids, logits))


def _matched(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return which of others' entries each of ours is: kvpress orders them by score."""
    assert len(ours) == len(others)
    exactly = "donot_use_mm_for_euclid_dist"
    distance, order = torch.cdist(ours, others, compute_mode=exactly).min(1)
    assert float(distance.max()) < 1e-4
    assert len(set(order.tolist())) == len(ours), "the same entries stay"
    return order
