"""What settings make of a prompt: compressed layers, and forks made of them.

Shapes: K heads of keys, N tokens of a prompt.
"""

from collections.abc import Mapping, Sequence

import torch

from encodeonce.models.kv.forks import Fork, KVLayer
from encodeonce.models.kv.method import KVMethod, find_method
from encodeonce.models.kv.prompts import Prompts
from encodeonce.models.kv.selection import Entries, Selection
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.statistics import PromptStatistics


def compress(prompts: Prompts, row: int, settings: Sequence[KVSpec]) -> list[Fork]:
    """Return a prompt's cache under each setting, planned over all layers."""
    layers = compress_layers(prompts, row, settings, range(prompts.num_layers))
    return [
        fork_of(prompts, row, setting, mine) for setting, mine in zip(settings, layers, strict=True)
    ]


def compress_layers(
    prompts: Prompts, row: int, settings: Sequence[KVSpec], numbers: Sequence[int]
) -> list[list[KVLayer]]:
    """Return some layers of a prompt's cache under each setting, planned over these alone."""
    statistics = prompts.statistics(row, numbers)
    by_number = {layer.layer: layer for layer in statistics.layers}
    methods = [find_method(setting) for setting in settings]
    plans = [
        _plan(method, statistics, setting.keep)
        for method, setting in zip(methods, settings, strict=True)
    ]
    found: list[list[KVLayer]] = [[] for _ in settings]
    for number in numbers:
        if number not in by_number:
            whole = prompts.window_layer(number, row)
            for mine in found:
                mine.append(whole)
            continue
        # Once for all settings: these are copies.
        keys, values = by_number[number].keys, by_number[number].values
        for mine, method, plan in zip(found, methods, plans, strict=True):
            entries = _apply(method, keys, values, plan[number], statistics.is_visual)
            mine.append(KVLayer(entries=entries, window=None))
    return found


def can_stream(setting: KVSpec) -> bool:
    """Return whether each layer can be compressed as soon as its attention is computed."""
    method = find_method(setting)
    return setting.scope == "question" and (method is None or method.layers_apart)


def fork_of(prompts: Prompts, row: int, setting: KVSpec, layers: Sequence[KVLayer]) -> Fork:
    """Return a fork of compressed layers."""
    method = find_method(setting)
    is_visual = prompts.is_visual(row)
    kept = [layer.entries.lengths[0] for layer in layers]
    return Fork(
        layers=layers,
        is_visual=is_visual,
        precision=setting.precision,
        positions="original" if method is None else method.positions,
        eviction=None if method is None else method.eviction(len(is_visual), kept, setting.keep),
    )


def _plan(
    method: KVMethod | None, prompt: PromptStatistics, keep: float
) -> Mapping[int, Selection]:
    """Return what stays, by layer."""
    if method is not None:
        plan = method.plan(prompt, keep)
        return {layer.layer: chosen for layer, chosen in zip(prompt.layers, plan, strict=True)}
    everything = torch.arange(prompt.num_tokens, device=prompt.is_visual.device)
    return {layer.layer: everything.expand(layer.num_kv_heads, -1) for layer in prompt.layers}


def _apply(
    method: KVMethod | None,
    keys: torch.Tensor,
    values: torch.Tensor,
    selection: Selection,
    is_visual: torch.Tensor,
) -> Entries:
    if method is None:
        return Entries(keys=keys, values=values, indices=selection)
    return method.apply(keys, values, selection, is_visual)
