"""What prose is worth over compressed caches of equal bytes.

A passage's first N tokens are prefilled and compressed before anything behind them is read
(scope "media"). Then the passage goes on, teacher-forced: by how much its tokens' negative
log-likelihood rises over the full cache, and the KL divergence of the distributions.

Shapes: R settings, V vocabulary, N tokens of the compressed part, T behind it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from encodeonce.models.kv.cohort import cohort_of, teacher_forced
from encodeonce.models.kv.compress import compress
from encodeonce.models.kv.forks import Fork
from encodeonce.models.kv.prompts import Prompts, needs_of, prefix_observation
from encodeonce.models.kv.registry import method_class
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.prefix import Opening, prefill
from tests.real.needles import methods
from tests.real.tables import shown

SMALL_WINDOW = 8
_MOST_ROWS = 16
"""Settings that read together."""

MethodOptions = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One passage under one setting; means over its T tokens, nats."""

    nll: float
    kl: float
    """From the full cache."""
    kept: float
    """Bytes of the compressed cache, as a fraction of the full one's in the model's precision."""


def selections() -> Iterator[MethodOptions]:
    """Yield the methods that need no training and no question, with options.

    Those that keep a window of 64 tokens, which is more than small budgets hold, also with one of
    8, which leaves them something to choose.
    """
    for name, options in methods():
        if method_class(name).needs_question:
            continue
        yield name, options
        if "window" in method_class(name).model_fields:
            yield name, {"window": SMALL_WINDOW}


def shown_selection(name: str, options: Mapping[str, Any]) -> str:
    """Return a method's name in tables."""
    if "window" in options:
        return f"{shown(name, {})}, window: {options['window']}"
    return shown(name, options)


class Prefilled:
    """The first N tokens of a passage, ready to be compressed."""

    def __init__(self, model: Any, token_ids: Sequence[int], num_before: int) -> None:
        """Prefill them, with the statistics that any of `selections` needs.

        Args:
            model: of transformers.
            token_ids: of the passage.
            num_before: N.
        """
        settings = [
            KVSpec(method=name, options=dict(options), scope="media", keep=0.5)
            for name, options in selections()
        ]
        self._model, self.num_tokens = model, num_before
        self._behind = list(token_ids[num_before:])
        input_ids = torch.tensor([token_ids[:num_before]])
        opening = Opening(
            token_ids=tuple(token_ids[:num_before]),
            inputs={"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)},
            prompt=lambda text: [],
            num_visual_units=0,
            state={},
            is_visual=[False] * num_before,
        )
        prefix = prefill(model, opening, 0.0, prefix_observation(needs_of(settings)))
        self._prompts = Prompts(model, prefix, None, [0])

    def kept(self, setting: KVSpec) -> float:
        """Return the fraction of bytes that a setting keeps."""
        (fork,) = compress(self._prompts, 0, [setting])
        return _kept(fork)

    def judge(self, settings: Sequence[KVSpec]) -> list[Judged]:
        """Return what the rest of the passage is worth under each setting."""
        (full,) = compress(self._prompts, 0, [FULL])
        expected = [logits.log_softmax(-1) for logits in self._logits([full])]
        found: list[Judged] = []
        for start in range(0, len(settings), _MOST_ROWS):
            forks = compress(self._prompts, 0, settings[start : start + _MOST_ROWS])
            found += self._judged(forks, expected)
        return found

    def _judged(self, forks: Sequence[Fork], expected: Sequence[torch.Tensor]) -> list[Judged]:
        nll, kl = torch.zeros(len(forks)), torch.zeros(len(forks))
        following = self._behind[1:]
        for logits, full, token in zip(self._logits(forks), expected, following, strict=True):
            log_probs = logits.log_softmax(-1)
            nll -= log_probs[:, token]
            kl += (full.exp() * (full - log_probs)).sum(-1)
        count = len(following)
        return [
            Judged(nll=one / count, kl=other / count, kept=_kept(fork))
            for one, other, fork in zip(nll.tolist(), kl.tolist(), forks, strict=True)
        ]

    def _logits(self, forks: Sequence[Fork]) -> Iterator[torch.Tensor]:
        """Yield logits (R, V) before each of the passage's tokens but the first behind N."""
        fed = self._behind[:-1]
        cohort = cohort_of(forks, 0, len(fed))
        for logits in teacher_forced(self._model, cohort, [fed] * len(forks)):
            yield logits.float()


def _kept(fork: Fork) -> float:
    found = fork.measure(0)
    return sum(found.kept) / sum(found.full)


def at_bytes(
    prefilled: Prefilled, method: MethodOptions, precision: str, target: float
) -> KVSpec | None:
    """Return a method's setting with the fewest entries that keeps at least ``target`` bytes.

    None where all N entries are fewer bytes than that.

    Args:
        prefilled: a passage to measure on.
        method: with its options.
        precision: of the entries.
        target: fraction of the full cache's bytes.
    """
    name, options = method

    def at(count: int) -> KVSpec:
        return KVSpec(
            method=name,
            options=dict(options),
            precision=precision,
            scope="media",
            keep=count / prefilled.num_tokens,
        )

    low, high = 0, prefilled.num_tokens
    if prefilled.kept(at(high)) < target:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if prefilled.kept(at(middle)) >= target else (middle, high)
    return at(high)
