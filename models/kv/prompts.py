"""What is known of prompts after their prefill, and what a setting makes of it.

Shapes: K heads of keys, N tokens of a prompt.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from encodeonce.models.kv.forks import Fork, KVLayer
from encodeonce.models.kv.method import KVMethod, find_method
from encodeonce.models.kv.observe import Observation, Seen, moments, text_rotary
from encodeonce.models.kv.plan import Entries
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.statistics import LayerStatistics, Needs, PromptStatistics
from encodeonce.models.prefix import Prefix


def needs_of(settings: Sequence[KVSpec]) -> Needs:
    """Return what has to be collected for all of some settings."""
    needs = Needs()
    for setting in settings:
        method = find_method(setting)
        if method is not None:
            needs |= method.needs
    return needs


def prefix_observation(needs: Needs) -> Observation:
    """Return what watches the prefill of a prefix."""
    return Observation(needs, num_kept_queries=needs.num_last_queries, num_kept_keys=0)


def question_observation(needs: Needs, prefix: Prefix, num_question: int) -> Observation:
    """Return what watches the pass of some questions over a prefix."""
    own = replace(needs, column_sums=False)  # the questions' part is computed when it is asked for
    return Observation(
        own,
        num_kept_queries=num_question,
        num_kept_keys=num_question,
        whole_layers=[n for n, layer in enumerate(prefix.layers) if layer.is_sliding],
    )


class Prompts:
    """What is known of the prompts of some questions after their prefill."""

    def __init__(
        self, model: Any, prefix: Prefix, questions: Observation | None, lengths: Sequence[int]
    ) -> None:
        """Join what was seen of a prefix and of the questions behind it.

        Args:
            model: of transformers.
            prefix: with an observation.
            questions: their pass, each filled up on the left; None for the prefix alone.
            lengths: tokens of each question.
        """
        assert prefix.observation is not None
        self._prefix, self._lengths = prefix, lengths
        self._before = prefix.observation.layers
        self._after = questions.layers if questions is not None else None
        self._rotary = text_rotary(model, prefix.opening.position_offset)
        self._device = model.device

    def is_visual(self, row: int) -> torch.Tensor:
        """Return which tokens of a prompt stand for features, (N,) bool."""
        flags = [*self._prefix.opening.is_visual, *[False] * self._num_question(row)]
        return torch.tensor(flags, device=self._device)

    def statistics(self, row: int) -> PromptStatistics:
        """Return what KV methods may know of a prompt."""
        layers = [
            self._layer(number, row)
            for number, layer in enumerate(self._prefix.layers)
            if not layer.is_sliding
        ]
        is_visual = self.is_visual(row)
        return PromptStatistics(layers=layers, is_visual=is_visual, rotary=self._rotary)

    def window_layer(self, number: int, row: int) -> KVLayer:
        """Return a layer that looks back over a window: it keeps what it has."""
        layer: Any = self._prefix.layers[number]
        window = int(layer.sliding_window)
        num_tokens = self._prefix.num_tokens + self._num_question(row)
        keys, values = layer.keys[0], layer.values[0]
        if self._after is not None:
            keys, values = self._after[number].keys[row], self._after[number].values[row]
        keys, values = keys[:, -window:], values[:, -window:]
        held = torch.arange(num_tokens - keys.shape[1], num_tokens, device=keys.device)
        entries = Entries(keys=keys, values=values, indices=held.expand(len(keys), -1))
        return KVLayer(entries=entries, window=window)

    @property
    def num_layers(self) -> int:
        """Of the language model."""
        return len(self._prefix.layers)

    def _num_question(self, row: int) -> int:
        return 0 if self._after is None else self._lengths[row]

    def _layer(self, number: int, row: int) -> LayerStatistics:
        layer: Any = self._prefix.layers[number]
        before = self._before[number]
        parts = [(layer.keys[0], layer.values[0])]
        queries = before.queries[0]
        found = dict(before.moments)
        if self._after is not None:
            after, count = self._after[number], self._lengths[row]
            parts.append((after.keys[row][:, -count:], after.values[row][:, -count:]))
            queries = torch.cat([queries, after.queries[row][:, -count:]], dim=1)
            if after.unrotated is not None:
                own = moments(after.unrotated[row][:, -count:])
                found = {skipped: one.joined(own) for skipped, one in found.items()}
        return LayerStatistics(
            layer=number,
            parts=parts,
            queries=queries,
            num_prefix=self._prefix.num_tokens,
            scaling=before.scaling,
            prefix_column_sums=_first_row(before),
            moments=found,
        )


def _first_row(seen: Seen) -> torch.Tensor | None:
    return None if seen.column_sums is None else seen.column_sums[0]


def compress(prompts: Prompts, row: int, setting: KVSpec) -> Fork:
    """Return a prompt's cache under a setting."""
    method = find_method(setting)
    statistics = prompts.statistics(row)
    entries = _all_entries(statistics) if method is None else _chosen(method, statistics, setting)
    layers = [
        KVLayer(entries=entries[number], window=None)
        if number in entries
        else prompts.window_layer(number, row)
        for number in range(prompts.num_layers)
    ]
    kept = [len(layer.entries.keys[0]) for layer in layers]
    return Fork(
        layers=layers,
        is_visual=statistics.is_visual,
        precision=setting.precision,
        positions="original" if method is None else method.positions,
        eviction=None
        if method is None
        else method.eviction(statistics.num_tokens, kept, setting.keep),
    )


def _chosen(method: KVMethod, prompt: PromptStatistics, setting: KVSpec) -> dict[int, Entries]:
    plan = method.plan(prompt, setting.keep)
    return {
        layer.layer: method.apply(layer, selection, prompt.is_visual)
        for layer, selection in zip(prompt.layers, plan, strict=True)
    }


def _all_entries(prompt: PromptStatistics) -> dict[int, Entries]:
    everything = torch.arange(prompt.num_tokens, device=prompt.is_visual.device)
    return {
        layer.layer: Entries(
            keys=layer.keys,
            values=layer.values,
            indices=everything.expand(layer.num_kv_heads, -1),
        )
        for layer in prompt.layers
    }
