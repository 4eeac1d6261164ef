"""Measures how compressed caches continue the full cache's own answers, teacher-forced.

Shapes: R forks, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from encodeonce.models.kv.cohort import cohort_of, teacher_forced
from encodeonce.models.kv.forks import Fork
from encodeonce.models.language.generation import Answering, Fidelity
from encodeonce.models.language.prefix import Prefix


def fidelities(
    model: Any, prefix: Prefix, forks: Sequence[Fork], answers: Sequence[Answering]
) -> list[Fidelity]:
    """Return how each fork continues the full cache's answer to its question.

    Args:
        model: of transformers.
        prefix: that the prompts begin with.
        forks: the compressed caches.
        answers: for each fork the full cache's answer, with its logits.
    """
    longest = max(len(answer.token_ids) for answer in answers)
    if longest < 2:
        return [Fidelity(num_tokens=0, num_agreeing=0, total_kl=0.0)] * len(forks)
    given = [
        [*answer.token_ids[:-1], *answer.token_ids[:1] * (longest - len(answer.token_ids))]
        for answer in answers
    ]
    keeping = [replace(fork, eviction=None) for fork in forks]
    cohort = cohort_of(keeping, prefix.opening.position_offset, longest)
    agreeing, total_kl = [0] * len(forks), [0.0] * len(forks)
    for number, logits_RV in enumerate(teacher_forced(model, cohort, given), 1):
        # Answers that have ended are compared with anything: it is not counted.
        expected = [answer.logits[min(number, len(answer.logits) - 1)] for answer in answers]
        expected_RV = torch.stack(expected).to(logits_RV.device).log_softmax(-1)
        log_probs_RV = logits_RV.float().log_softmax(-1)
        same = (log_probs_RV.argmax(-1) == expected_RV.argmax(-1)).tolist()
        divergence = (expected_RV.exp() * (expected_RV - log_probs_RV)).sum(-1)
        kl = divergence.clamp(min=0.0).tolist()  # rounding can make a zero negative
        for fork, answer in enumerate(answers):
            if number < len(answer.token_ids):
                agreeing[fork] += same[fork]
                total_kl[fork] += kl[fork]
    return [
        Fidelity(
            num_tokens=len(answer.token_ids) - 1,
            num_agreeing=agreeing[fork],
            total_kl=total_kl[fork],
        )
        for fork, answer in enumerate(answers)
    ]
