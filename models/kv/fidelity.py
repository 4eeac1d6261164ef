"""Measures how compressed caches continue the full cache's own answers, teacher-forced.

Shapes: R forks, B questions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from encodeonce.models.kv.forks import Fork, ragged_cache, teacher_forced
from encodeonce.models.language.generation import Fidelity, Greedy
from encodeonce.models.language.prefix import Prefix


def fidelities(
    model: Any,
    prefix: Prefix,
    num_seen: int,
    forks: Sequence[Fork],
    full: Greedy,
    rows: Sequence[int],
) -> list[Fidelity]:
    """Return how each fork continues the full cache's answer.

    Args:
        model: of transformers.
        prefix: that the prompts begin with.
        num_seen: tokens of the prompts, padding included.
        forks: the compressed caches.
        full: the full cache's answers to B questions.
        rows: the question of each fork.
    """
    longest = max(len(tokens) for tokens in full.token_ids)
    if longest < 2:
        return [Fidelity(num_tokens=0, num_agreeing=0, total_kl=0.0)] * len(forks)
    given = [[*t[:-1], *[t[0]] * (longest - len(t))] for t in full.token_ids]
    offset = prefix.opening.position_offset
    cache = ragged_cache([replace(fork, eviction=None) for fork in forks], num_seen, longest)
    steps = teacher_forced(
        model,
        cache,
        forks,
        [given[row] for row in rows],
        [fork.num_tokens + offset for fork in forks],
    )
    agreeing, total_kl = [0] * len(forks), [0.0] * len(forks)
    for number, logits_RV in enumerate(steps, 1):
        log_probs_RV = logits_RV.float().log_softmax(-1)
        expected_RV = full.logits[number].log_softmax(-1)[list(rows)]
        same = (log_probs_RV.argmax(-1) == expected_RV.argmax(-1)).tolist()
        divergence = (expected_RV.exp() * (expected_RV - log_probs_RV)).sum(-1)
        kl = divergence.clamp(min=0.0).tolist()  # rounding can make a zero negative
        for fork, row in enumerate(rows):
            if number < len(full.token_ids[row]):
                agreeing[fork] += same[fork]
                total_kl[fork] += kl[fork]
    return [
        Fidelity(
            num_tokens=len(full.token_ids[row]) - 1,
            num_agreeing=agreeing[fork],
            total_kl=total_kl[fork],
        )
        for fork, row in enumerate(rows)
    ]
