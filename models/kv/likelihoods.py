"""Computes likelihoods of given texts under several cache variants.

Shapes: R settings, L tokens of a text, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from encodeonce.models.answer import Likelihoods
from encodeonce.models.checkpoint.rows import companies
from encodeonce.models.kv.cohort import cohort_of, teacher_forced
from encodeonce.models.kv.compress import compress
from encodeonce.models.kv.forks import Fork
from encodeonce.models.kv.prompts import Prompts, needs_of, question_observation
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.language.likelihood import (
    Scored,
    are_likeliest,
    log_probs_from,
    token_log_probs,
)
from encodeonce.models.language.prefix import Prefix, continued
from encodeonce.models.timing import Stopwatch


def sweep_likelihoods(
    model: Any,
    prefix: Prefix,
    settings: Sequence[KVSpec],
    suffix: Sequence[int],
    continuations: Sequence[Sequence[int]],
) -> list[Likelihoods]:
    """Return the likelihoods of one question's continuations under each setting.

    Under settings of scope "question" the first token's logits are the full prefill's.

    Args:
        model: of transformers.
        prefix: prefilled with `prefix_observation`.
        settings: cache variants.
        suffix: the question's tokens.
        continuations: token ids of each text.
    """
    by_question = {n: s for n, s in enumerate(settings) if s.scope == "question"}
    by_media = {n: s for n, s in enumerate(settings) if s.scope == "media"}
    found: dict[int, Likelihoods] = {}
    if by_question:
        found |= _by_question(model, prefix, by_question, suffix, continuations)
    if by_media:
        found |= _by_media(model, prefix, by_media, suffix, continuations)
    return [found[n] for n in range(len(settings))]


def _by_question(
    model: Any,
    prefix: Prefix,
    settings: Mapping[int, KVSpec],
    suffix: Sequence[int],
    continuations: Sequence[Sequence[int]],
) -> dict[int, Likelihoods]:
    """Return likelihoods under the full cache and settings of scope "question", by number."""
    compressed = {n: setting for n, setting in settings.items() if not setting.is_full}
    seen = question_observation(needs_of(list(compressed.values())), len(suffix))
    watch = Stopwatch()
    # The unmodified model reads the full cache alone.
    watching = seen.watching(model) if compressed else nullcontext()
    with watch.stage("score"), continued(model, prefix), watching:
        full = log_probs_from(model, prefix, suffix, continuations)
    whole = {n: _likelihoods(prefix, suffix, full, None) for n in settings if n not in compressed}
    if whole:
        whole = _booked(whole, watch.take())
    if not compressed:
        return whole
    prompts = Prompts(model, prefix, seen, [len(suffix)])
    with watch.stage("compress"):
        forks = compress(prompts, 0, list(compressed.values()))
    with watch.stage("score"):
        scored = [
            one
            for together in companies(model, forks)
            for one in _behind_prompt(model, prefix, together, full, continuations)
        ]
    found = {
        n: _likelihoods(prefix, suffix, one, fork)
        for n, fork, one in zip(compressed, forks, scored, strict=True)
    }
    return whole | _booked(found, watch.take())


def _by_media(
    model: Any,
    prefix: Prefix,
    settings: Mapping[int, KVSpec],
    suffix: Sequence[int],
    continuations: Sequence[Sequence[int]],
) -> dict[int, Likelihoods]:
    """Return likelihoods under settings of scope "media", by number."""
    prompts = Prompts(model, prefix, None, [len(suffix)])
    watch = Stopwatch()
    with watch.stage("compress"):
        forks = compress(prompts, 0, list(settings.values()))
    with watch.stage("score"):
        scored = [
            one
            for together in companies(model, forks)
            for one in _behind_prefix(model, prefix, together, suffix, continuations)
        ]
    found = {
        n: _likelihoods(prefix, suffix, one, fork, num_more=len(suffix))
        for n, fork, one in zip(settings, forks, scored, strict=True)
    }
    return _booked(found, watch.take())


def _booked(
    found: Mapping[int, Likelihoods], seconds: Mapping[str, float]
) -> dict[int, Likelihoods]:
    """Divide the seconds of a joint batch evenly among its settings."""
    share = {stage: value / len(found) for stage, value in seconds.items()}
    return {n: replace(one, seconds=share) for n, one in found.items()}


def _behind_prompt(
    model: Any,
    prefix: Prefix,
    forks: Sequence[Fork],
    full: Scored,
    continuations: Sequence[Sequence[int]],
) -> list[Scored]:
    """Return scores of the continuations behind compressed prompts."""
    first = full.first_logits.expand(len(forks), -1)
    steps = [[first] for _ in continuations]
    room = max(map(len, continuations))
    if room > 1:
        cohort = cohort_of(forks, prefix.opening.position_offset, room - 1)
        for ids, mine in zip(continuations, steps, strict=True):
            if len(ids) > 1:
                mine += teacher_forced(model, cohort, [ids[:-1]] * len(forks))
    return _scored(steps, continuations, first)


def _behind_prefix(
    model: Any,
    prefix: Prefix,
    forks: Sequence[Fork],
    suffix: Sequence[int],
    continuations: Sequence[Sequence[int]],
) -> list[Scored]:
    """Return scores of the question's continuations behind compressed prefixes."""
    room = len(suffix) + max(map(len, continuations)) - 1
    cohort = cohort_of(forks, prefix.opening.position_offset, room)
    steps = []
    for ids in continuations:
        rows = [[*suffix, *ids[:-1]]] * len(forks)
        steps.append(list(teacher_forced(model, cohort, rows, len(suffix) - 1)))
    return _scored(steps, continuations, steps[0][0])


def _scored(
    steps: Sequence[Sequence[torch.Tensor]],
    continuations: Sequence[Sequence[int]],
    first_RV: torch.Tensor,
) -> list[Scored]:
    """Return scores by fork, from logits (R, V) by continuation and token."""
    stacked = [torch.stack(list(logits), dim=1) for logits in steps]
    return [
        Scored(
            first_logits=first_RV[row],
            log_probs=[
                token_log_probs(logits_RLV[row], ids)
                for logits_RLV, ids in zip(stacked, continuations, strict=True)
            ],
            are_greedy=[
                are_likeliest(logits_RLV[row], ids)
                for logits_RLV, ids in zip(stacked, continuations, strict=True)
            ],
        )
        for row in range(len(first_RV))
    ]


def _likelihoods(
    prefix: Prefix, suffix: Sequence[int], scored: Scored, fork: Fork | None, num_more: int = 0
) -> Likelihoods:
    return Likelihoods(
        log_probs=scored.sums(),
        num_tokens=tuple(len(one) for one in scored.log_probs),
        first_log_probs=scored.firsts(),
        are_greedy=tuple(scored.are_greedy),
        kv=None if fork is None else fork.measure(num_more).after(),
        num_visual_units=prefix.opening.num_visual_units,
        num_prompt_tokens=prefix.num_tokens + len(suffix),
    )
