"""Compares the worker time of answers: plain JSON values for `compare`."""

from collections.abc import Sequence

from encodeonce.harness.results.shared_time import Seconds, VariantTime
from encodeonce.harness.results.summary import Summary
from encodeonce.models.answer import sum_seconds


def compare_times(first: Sequence[VariantTime], second: Sequence[VariantTime]) -> list[Summary]:
    """Return seconds per answer by stage, with the first's divided by the second's.

    Each of these has ``stage``, ``seconds`` and ``ratio``, and ``is_shared``: whether other
    variants of a run profit from that work, which counts in full for each. Last comes ``all``;
    where something is shared, the sum of what is not stands before it, as ``own``.
    """
    sides = (first, second)
    shared = [_per_answer([one.shared for one in side], side) for side in sides]
    own = [_per_answer([one.own for one in side], side) for side in sides]
    is_shared = any(one.is_sharing for side in sides for one in side)
    found = [
        *(_row(stage, [one.get(stage) for one in shared], is_shared) for stage in _names(shared)),
        *(_row(stage, [one.get(stage) for one in own]) for stage in _names(own)),
    ]
    if is_shared and any(own):
        found.append(_row("own", [_total(one) for one in own]))
    both = [_total(sum_seconds(parts)) for parts in zip(shared, own, strict=True)]
    return [*found, _row("all", both)]


def _per_answer(seconds: Sequence[Seconds], side: Sequence[VariantTime]) -> Seconds:
    num_answered = sum(one.num_answered for one in side)
    total = sum_seconds(seconds) if num_answered else {}
    return {stage: value / num_answered for stage, value in total.items()}


def _names(sides: Sequence[Seconds]) -> list[str]:
    return list(dict.fromkeys(stage for side in sides for stage in side))


def _total(seconds: Seconds) -> float | None:
    return sum(seconds.values()) if seconds else None


def _row(stage: str, seconds: Sequence[float | None], is_shared: bool = False) -> Summary:
    ours, theirs = seconds
    ratio = ours / theirs if ours is not None and theirs else None
    return {"stage": stage, "seconds": [ours, theirs], "ratio": ratio, "is_shared": is_shared}
