"""Measures how close answers stay to those of a reference variant on the same questions.

The text measures compare generated answers, which diverge for good at the first token that differs;
the teacher-forced ones (`models.kv.use.Fidelity`) compare every step of the same answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from encodeonce.datasets.metrics.rouge import rouge_l, rouge_l_legacy
from encodeonce.harness.run.record import Record

NGRAM = 4
"""Length in tokens of the n-grams whose repetition is counted."""


def summarize_fidelity(
    records: Sequence[Record], references: Mapping[tuple[str, str], Record]
) -> dict[str, Any] | None:
    """Compare generated answers with a reference's.

    Args:
        records: of one variant.
        references: the reference's records by benchmark and sample.

    Returns:
        None where nothing can be compared. Otherwise means over answers, in [0, 1] unless said:

        - ``num_answers`` that both variants generated.
        - ``exact_match``: texts that are equal.
        - ``rouge_l``: of token LCS (`rouge_l`); equal texts count 1, even those without a word.
        - ``rouge_l_legacy``: as the PyPI package `rouge` computes it.
        - ``num_different``: answers whose tokens differ; ``first_divergence``: tokens before the
          first difference, mean over these, None if there are none.
        - ``repetition_rate`` and ``reference_repetition_rate``, see `repetition_rate`.
        - ``length_ratio``: tokens over the reference's tokens, of all answers together.
        - ``num_forced_tokens``, and over them ``token_agreement`` and ``mean_kl`` in nats: how the
          cache continues the full cache's answer, teacher-forced; None where not measured.
    """
    pairs = [
        (record, reference)
        for record in records
        if (reference := references.get((record.benchmark, record.sample))) is not None
        and record.token_ids
        and reference.token_ids
    ]
    if not pairs:
        return None
    texts = [(record.text or "", reference.text or "") for record, reference in pairs]
    parted = [
        common_prefix(record.token_ids, reference.token_ids)
        for record, reference in pairs
        if record.token_ids != reference.token_ids
    ]
    num_tokens = sum(len(record.token_ids) for record, _ in pairs)
    return {
        "num_answers": len(pairs),
        "exact_match": _mean(float(text == reference) for text, reference in texts),
        "rouge_l": _mean(
            1.0 if text == reference else rouge_l(text, reference) for text, reference in texts
        ),
        "rouge_l_legacy": _mean(rouge_l_legacy(text, reference) for text, reference in texts),
        "num_different": len(parted),
        "first_divergence": _mean(parted) if parted else None,
        "repetition_rate": _mean(repetition_rate(record.token_ids) for record, _ in pairs),
        "reference_repetition_rate": _mean(repetition_rate(other.token_ids) for _, other in pairs),
        "length_ratio": num_tokens / sum(len(other.token_ids) for _, other in pairs),
        **_forced(records),
    }


def common_prefix(tokens: Sequence[int], reference: Sequence[int]) -> int:
    """Return how many tokens two answers have in common before they diverge."""
    pairs = zip(tokens, reference, strict=False)
    return next(
        (n for n, (one, other) in enumerate(pairs) if one != other),
        min(len(tokens), len(reference)),
    )


def repetition_rate(tokens: Sequence[int], size: int = NGRAM) -> float:
    """Return the fraction of an answer's n-grams that have occurred in it before.

    1 - distinct / all; 0.0 for an answer shorter than an n-gram. Loops, the usual failure of
    decoding from a compressed cache, bring it close to 1.
    """
    ngrams = [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _forced(records: Sequence[Record]) -> dict[str, Any]:
    measured = [record.fidelity for record in records if record.fidelity is not None]
    num_tokens = sum(one.num_tokens for one in measured)
    if not num_tokens:
        return {"num_forced_tokens": 0, "token_agreement": None, "mean_kl": None}
    return {
        "num_forced_tokens": num_tokens,
        "token_agreement": sum(one.num_agreeing for one in measured) / num_tokens,
        "mean_kl": sum(one.total_kl for one in measured) / num_tokens,
    }


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
