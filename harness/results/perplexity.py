"""Perplexity of reference texts, teacher-forced."""

import math
from collections.abc import Sequence
from typing import Any

import ml_dtypes

from encodeonce.harness.run.record import Record
from encodeonce.harness.run.scoring import REFERENCE


def summarize_nll(records: Sequence[Record]) -> dict[str, Any] | None:
    """Add up the negative log-likelihoods of reference texts; None if there are none.

    Micro-averaged over all tokens of all texts, from float32 log-softmax:

    - ``num_samples``, ``num_tokens``, ``per_token`` (nats), and its exponential ``perplexity``.
    - ``num_tokens_after_first``, ``perplexity_after_first``: without each text's first token,
      which the full prefill predicts under every cache variant; None where it was not recorded
      apart, or where no text has a second token.
    - ``perplexity_legacy_bf16``: the mean rounded to bfloat16, and its exponential too, as in
      PrefixKV's published tables (its evaluation computes both in the model's precision).
    """
    measured = [record for record in records if REFERENCE in record.log_probs]
    if not measured:
        return None
    num_tokens = sum(record.num_scored_tokens[REFERENCE] for record in measured)
    total = -sum(record.log_probs[REFERENCE] for record in measured)
    return {
        "num_samples": len(measured),
        "num_tokens": num_tokens,
        "per_token": total / num_tokens,
        "perplexity": math.exp(total / num_tokens),
        "num_tokens_after_first": num_tokens - len(measured),
        "perplexity_after_first": _after_first(measured, total, num_tokens),
        "perplexity_legacy_bf16": _bf16(math.exp(_bf16(total / num_tokens))),
    }


def _after_first(measured: Sequence[Record], total: float, num_tokens: int) -> float | None:
    left = num_tokens - len(measured)
    if not left or not all(REFERENCE in record.first_log_probs for record in measured):
        return None
    first = -sum(record.first_log_probs[REFERENCE] for record in measured)
    return math.exp((total - first) / left)


def _bf16(value: float) -> float:
    return float(ml_dtypes.bfloat16(value))
