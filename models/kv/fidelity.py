"""Measures how compressed caches continue the full cache's own answers, teacher-forced.

Shapes: R forks, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from encodeonce.models.answer import Fidelity
from encodeonce.models.kv.cohort import cohort_of, teacher_forced
from encodeonce.models.kv.forks import Fork
from encodeonce.models.language.generation import Answering
from encodeonce.models.language.prefix import Prefix


def fidelities(
    model: Any,
    prefix: Prefix,
    forks: Sequence[Fork],
    answers: Sequence[Answering],
    questions: Sequence[Sequence[int]] | None = None,
) -> list[Fidelity]:
    """Return how each fork continues the full cache's answer to its question.

    Where prompts were compressed whole, the answer's first token is the full prefill's and is not
    compared.

    Args:
        model: of transformers.
        prefix: that the prompts begin with.
        forks: the compressed caches.
        answers: for each fork the full cache's answer, with its logits.
        questions: where prefixes were compressed alone, the tokens of each fork's question, of the
            same number; they are read first.
    """
    before = [()] * len(forks) if questions is None else questions
    num_before = len(before[0])
    longest = max(len(answer.token_ids) for answer in answers)
    found = [_Sum() for _ in forks]
    if longest + num_before > 1:
        given = [
            [*asked, *_filled(answer.token_ids, longest)[:-1]]
            for asked, answer in zip(before, answers, strict=True)
        ]
        lasting = [replace(fork, eviction=None) for fork in forks]
        cohort = cohort_of(lasting, prefix.opening.position_offset, len(given[0]))
        first = 0 if num_before else 1
        logits = teacher_forced(model, cohort, given, max(0, num_before - 1))
        for number, logits_RV in enumerate(logits, first):
            _compare(found, answers, number, logits_RV)
    return [
        Fidelity(num_tokens=one.num, num_agreeing=one.agreeing, total_kl=one.kl) for one in found
    ]


def _filled(token_ids: Sequence[int], length: int) -> list[int]:
    return [*token_ids, *[token_ids[0]] * (length - len(token_ids))]


@dataclass(slots=True)
class _Sum:
    """Over the tokens of an answer that are compared."""

    num: int = 0
    agreeing: int = 0
    kl: float = 0.0


def _compare(
    found: Sequence[_Sum], answers: Sequence[Answering], number: int, logits_RV: torch.Tensor
) -> None:
    """Compare logits before each answer's token of a number with the full cache's."""
    # Answers that have ended are compared with anything: it is not counted.
    expected = [answer.logits[min(number, len(answer.logits) - 1)] for answer in answers]
    expected_RV = torch.stack(expected).to(logits_RV.device).log_softmax(-1)
    log_probs_RV = logits_RV.float().log_softmax(-1)
    same = (log_probs_RV.argmax(-1) == expected_RV.argmax(-1)).tolist()
    divergence = (expected_RV.exp() * (expected_RV - log_probs_RV)).sum(-1)
    kl = divergence.clamp(min=0.0).tolist()  # rounding can make a zero negative
    for one, answer, agrees, amount in zip(found, answers, same, kl, strict=True):
        if number < len(answer.token_ids):
            one.num += 1
            one.agreeing += agrees
            one.kl += amount
