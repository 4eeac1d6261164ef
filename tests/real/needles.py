"""How compressed caches read codes that are hidden in prose.

The answer is teacher-forced: its negative log-likelihood, and whether greedy decoding would write
it. Its first token is a space, which the full prefill predicts under settings of scope "question":
it is left out of the likelihood, so every digit counts and is read from the compressed cache.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from encodeonce.harness.results.intervals import Z_95
from encodeonce.harness.results.paired import PairedDifference, paired_difference
from encodeonce.models.kv.registry import method_class, method_names
from encodeonce.models.kv.spec import FULL, KVSpec
from tests.real.prose import Hidden

BUDGETS = (0.5, 0.2)
_OTHERS: Mapping[str, Mapping[str, Any]] = {
    "random": {"shared": True},
    "prefixkv": {"importance": "mean"},
}
"""Options with which a method is measured once more."""


def settings() -> list[KVSpec]:
    """Return the full cache, and every method in both scopes at both budgets."""
    return [
        FULL,
        *(KVSpec(method="full", precision=precision) for precision in ("int8", "int4")),
        *(
            KVSpec(method=name, options=dict(options), scope=scope, keep=keep)
            for name, options in methods()
            for scope in ("media", "question")
            for keep in BUDGETS
            if not (scope == "media" and method_class(name).needs_question)
        ),
    ]


def methods() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield methods with their options, but those compared elsewhere: trained ones, kvpress's."""
    for name in method_names():
        if name in ("full", "kvpress") or method_class(name).is_trained:
            continue
        yield name, {}
        if name in _OTHERS:
            yield name, _OTHERS[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One prompt under one setting."""

    nll: float
    """Mean over the answer's digits, nats."""
    is_right: bool
    """Whether greedy decoding begins with the answer."""


def read(decoder: Any, prompt: Hidden, kinds: Sequence[KVSpec]) -> list[Reading]:
    """Return what each setting makes of a prompt."""
    prefix = decoder.prefill([prompt.text], kinds)
    table = decoder.score(prefix, [prompt.question], [[prompt.answer]], kinds)
    return [
        Reading(
            nll=(one.first_log_probs[0] - one.log_probs[0]) / (one.num_tokens[0] - 1),
            is_right=one.are_greedy[0],
        )
        for (one,) in table
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """A mean of paired differences with its 95 % interval."""

    mean: float
    half: float


def rise(before: Sequence[float], after: Sequence[float]) -> Rise:
    """Return the mean rise from one list to the other, and half the interval's width."""
    differences = [b - a for a, b in zip(before, after, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return Rise(mean=statistics.fmean(differences), half=Z_95 * error)


def nll_rise(full: Sequence[Reading], other: Sequence[Reading]) -> Rise:
    """Return by how much the likelihood of the answers falls, nats a digit."""
    return rise([one.nll for one in full], [one.nll for one in other])


def right_change(full: Sequence[Reading], other: Sequence[Reading]) -> PairedDifference:
    """Return the change in the fraction of right answers; prompts share nothing."""
    scores = ([float(one.is_right) for one in some] for some in (full, other))
    found = paired_difference(*scores, [str(n) for n in range(len(full))])
    assert found is not None
    return found
