"""Applies settings to a prompt: compresses its layers, and makes forks of them.

Shapes: K heads of keys, N tokens of a prompt.
"""

from collections.abc import Sequence

import torch

from encodeonce.models.kv.forks import Fork, KVLayer
from encodeonce.models.kv.prompts import Prompts, needs_of
from encodeonce.models.kv.registry import find_method
from encodeonce.models.kv.selection import Entries
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.statistics import PromptStatistics
from encodeonce.models.language.adapting import using


def compress(prompts: Prompts, row: int, settings: Sequence[KVSpec]) -> list[Fork]:
    """Return a prompt's cache under each setting, planned over all layers."""
    if prompts.activation is not None and needs_of(settings).inputs:
        raise NotImplementedError(
            "KV methods that call the attention's own projections do not know where an activated "
            "LoRA begins; leave out kvpress's, or the adapter"
        )
    with using(prompts.adapter):  # kvpress calls the attention's own projections
        return _compressed(prompts, row, settings)


def _compressed(prompts: Prompts, row: int, settings: Sequence[KVSpec]) -> list[Fork]:
    statistics = prompts.statistics(row)
    numbers = range(prompts.num_layers)
    windows = {n: prompts.window_layer(n, row) for n in numbers if prompts.is_window(n)}
    found = []
    for setting in settings:
        entries = iter(_entries(setting, statistics))
        layers = [windows.get(n) or KVLayer(entries=next(entries), window=None) for n in numbers]
        found.append(_fork(setting, layers, prompts, row))
    return found


def _fork(setting: KVSpec, layers: Sequence[KVLayer], prompts: Prompts, row: int) -> Fork:
    method, is_visual = find_method(setting), prompts.is_visual(row)
    kept = [layer.entries.lengths[0] for layer in layers]
    return Fork(
        layers=layers,
        is_visual=is_visual,
        precision=setting.precision,
        positions="original" if method is None else method.positions,
        eviction=None if method is None else method.eviction(len(is_visual), kept, setting.keep),
        adapter=prompts.adapter,
        activation=prompts.activation,
    )


def _entries(setting: KVSpec, prompt: PromptStatistics) -> list[Entries]:
    """Return the entries of each layer that a setting keeps."""
    method = find_method(setting)
    if method is not None:
        plan = method.plan(prompt, setting.keep)
        return method.apply_layers(prompt.layers, plan, prompt.is_visual)
    everything = torch.arange(prompt.num_tokens, device=prompt.is_visual.device)
    return [
        Entries(
            keys=layer.keys,
            values=layer.values,
            indices=everything.expand(layer.num_kv_heads, -1),
        )
        for layer in prompt.layers
    ]
