"""The statistics of prompts after their prefill.

Shapes: K heads of keys, N tokens of a prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from encodeonce.models.kv.forks import KVLayer
from encodeonce.models.kv.observe import Observation, Seen, text_rotary
from encodeonce.models.kv.registry import find_method
from encodeonce.models.kv.selection import Entries
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.statistics import LayerStatistics, ModuleInputs, Needs, PromptStatistics
from encodeonce.models.language.prefix import Prefix


def needs_of(settings: Sequence[KVSpec]) -> Needs:
    """Return everything that some settings need to be collected."""
    needs = Needs()
    for setting in settings:
        method = find_method(setting)
        if method is not None:
            needs |= method.needs
    return needs


def prefix_observation(needs: Needs) -> Observation:
    """Return an observation for the prefill of a prefix."""
    return Observation(
        needs, num_kept_queries=needs.num_last_queries, num_kept_keys=0, ends_pass=True
    )


def question_observation(needs: Needs, num_question: int) -> Observation:
    """Return an observation for the pass of some questions over a prefix."""
    own = replace(needs, column_sums=False)  # the questions' part is computed on demand
    return Observation(own, num_kept_queries=num_question, num_kept_keys=num_question)


class Prompts:
    """The statistics of some questions' prompts after their prefill."""

    def __init__(
        self, model: Any, prefix: Prefix, questions: Observation | None, lengths: Sequence[int]
    ) -> None:
        """Join the observations of a prefix and of the questions behind it.

        Args:
            model: of transformers.
            prefix: with an observation.
            questions: of their pass, each padded on the left; None for the prefix alone.
            lengths: tokens of each question.
        """
        assert isinstance(prefix.observation, Observation), "prefilled for other settings"
        self._prefix, self._lengths = prefix, lengths
        self.adapter, self.activation = prefix.adapter, prefix.activation
        self._before, self._after = prefix.observation, questions
        self._rotary = text_rotary(model, prefix.opening.position_offset)
        longest = 0 if questions is None else max(lengths)
        flags = [*prefix.opening.is_visual, *[False] * longest]
        self._is_visual = torch.tensor(flags, device=model.device)
        self._statistics: dict[int, PromptStatistics] = {}

    def is_visual(self, row: int) -> torch.Tensor:
        """Return which tokens of a prompt stand for features, (N,) bool."""
        return self._is_visual[: self._prefix.num_tokens + self._num_question(row)]

    def is_window(self, number: int) -> bool:
        """Return whether a layer has a sliding window, and so is not compressed."""
        return bool(self._prefix.layers[number].is_sliding)

    def statistics(self, row: int) -> PromptStatistics:
        """Return a prompt's statistics for KV methods.

        What one setting has computed, the next reuses.
        """
        if row not in self._statistics:
            layers = [n for n in range(self.num_layers) if not self.is_window(n)]
            self._statistics[row] = PromptStatistics(
                layers=[self._layer(number, row) for number in layers],
                is_visual=self.is_visual(row),
                rotary=self._rotary,
            )
        return self._statistics[row]

    def window_layer(self, number: int, row: int) -> KVLayer:
        """Return a sliding-window layer, which keeps everything it has."""
        layer: Any = self._prefix.layers[number]
        window = int(layer.sliding_window)
        num_tokens = self._prefix.num_tokens + self._num_question(row)
        keys, values = layer.keys[0], layer.values[0]
        if self._after is not None:
            after, count = self._after.layer(number), self._lengths[row]
            keys = torch.cat([keys, after.keys[row][:, -count:]], dim=1)
            values = torch.cat([values, after.values[row][:, -count:]], dim=1)
        return window_layer(keys, values, window, num_tokens)

    @property
    def num_layers(self) -> int:
        """Number of the language model's layers."""
        return len(self._prefix.layers)

    def _num_question(self, row: int) -> int:
        return 0 if self._after is None else self._lengths[row]

    def _layer(self, number: int, row: int) -> LayerStatistics:
        layer: Any = self._prefix.layers[number]
        before = self._before.layer(number)
        parts = [(layer.keys[0], layer.values[0])]
        query_parts = [before.queries[0]]
        after, count, unrotated = None, 0, None
        if self._after is not None:
            after, count = self._after.layer(number), self._lengths[row]
            parts.append((after.keys[row][:, -count:], after.values[row][:, -count:]))
            query_parts.append(after.queries[row][:, -count:])
            if after.unrotated is not None:
                unrotated = after.unrotated[row][:, -count:]
        return LayerStatistics(
            layer=number,
            parts=parts,
            query_parts=query_parts,
            num_prefix=self._prefix.num_tokens,
            scaling=before.scaling,
            prefix_column_sums=None if before.column_sums is None else before.column_sums[0],
            prefix_moments=before.moments,
            question_unrotated=unrotated,
            inputs=_inputs(before, after, row, count),
        )


def window_layer(keys: torch.Tensor, values: torch.Tensor, window: int, num_tokens: int) -> KVLayer:
    """Return a sliding-window layer after N tokens, given (K, n, D) of the last n."""
    keys, values = keys[:, -window:], values[:, -window:]
    held = torch.arange(num_tokens - keys.shape[1], num_tokens, device=keys.device)
    entries = Entries(keys=keys, values=values, indices=held.expand(len(keys), -1))
    return KVLayer(entries=entries, window=window)


def _inputs(
    before: Seen, after: Seen | None, row: int, count: int
) -> Callable[[], ModuleInputs] | None:
    """Return a function that returns the inputs of a prefix and the question behind it."""
    first = before.inputs
    if first is None:
        return None
    if after is None or after.inputs is None:
        return lambda: first
    return partial(_joined, first, after.inputs, row, count)


def _joined(first: ModuleInputs, second: ModuleInputs, row: int, count: int) -> ModuleInputs:
    """Return the inputs of a prefix and of a row's last ``count`` tokens behind it."""

    def both(name: str) -> torch.Tensor:
        prefix, rows = getattr(first, name), getattr(second, name)
        own = rows[:1] if len(rows) == 1 else rows[row : row + 1]
        return torch.cat([prefix, own[:, -count:]], dim=1)

    return ModuleInputs(
        module=first.module, hidden=both("hidden"), cos=both("cos"), sin=both("sin")
    )
