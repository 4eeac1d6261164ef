"""Chooses the answers worth a look: those that a variant lost, or that are wrong."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from encodeonce.harness.run.record import Record

MOST_ITEMS = 24

_Shown = tuple[str, Record, list[tuple[str, Record]]]
"""Kind, sample, and the answers to it with their titles."""

BySample = Mapping[tuple[str, str], Record]


def gallery(
    records: Sequence[Record], uncached: Sequence[Record], reference: str
) -> dict[str, Any] | None:
    """Return the answers to show; None if there are none.

    They are, in this order: answers that caching changed; right answers of ``reference`` that
    other variants lost; in a run of one variant, wrong answers. The greatest loss comes first.

    Args:
        records: of all variants.
        uncached: plain transformers' answers.
        reference: the variant that others are compared with.

    Returns:
        ``num_found`` and the first `MOST_ITEMS` as ``items``: ``kind`` (``"uncached"``,
        ``"lost"`` or ``"wrong"``), ``benchmark``, ``sample``, ``question``, ``choices``,
        ``target``, ``tags``, ``answers`` (``variant``, ``text``, ``extracted``, ``score`` of each;
        the one compared with first).
    """
    ours = {(r.benchmark, r.sample): r for r in records if r.variant == reference}
    others = [record for record in records if record.variant != reference]
    found = _changed_by_caching(records, uncached)
    found += _lost(ours, others) if others else _wrong(ours.values())
    if not found:
        return None
    return {"num_found": len(found), "items": [_item(*one) for one in found[:MOST_ITEMS]]}


def _changed_by_caching(records: Sequence[Record], uncached: Sequence[Record]) -> list[_Shown]:
    cached = {record.key: record for record in records if record.error is None}
    return [
        ("uncached", plain, [("plain transformers", plain), ("cached", cached[plain.key])])
        for plain in uncached
        if plain.error is None and plain.key in cached and plain.text != cached[plain.key].text
    ]


def _lost(ours: BySample, others: Iterable[Record]) -> list[_Shown]:
    """Return samples that variants score lower than the reference, most points lost first."""
    lower: dict[tuple[str, str], list[Record]] = {}
    for record in others:
        base = ours.get((record.benchmark, record.sample))
        if base is not None and _loss(base, record) > 0:
            lower.setdefault((record.benchmark, record.sample), []).append(record)

    def total_loss(key: tuple[str, str]) -> float:
        return sum(_loss(ours[key], record) for record in lower[key])

    return [
        ("lost", ours[key], [(one.variant, one) for one in (ours[key], *lower[key])])
        for key in sorted(lower, key=total_loss, reverse=True)
    ]


def _loss(base: Record, record: Record) -> float:
    if base.score is None or record.score is None:
        return 0.0
    return base.score - record.score


def _wrong(records: Iterable[Record]) -> list[_Shown]:
    wrong = [record for record in records if record.score is not None and record.score < 0.5]
    wrong.sort(key=lambda record: record.score or 0.0)
    return [("wrong", record, [(record.variant, record)]) for record in wrong]


def _item(kind: str, record: Record, answers: Sequence[tuple[str, Record]]) -> dict[str, Any]:
    return {
        "kind": kind,
        "benchmark": record.benchmark,
        "sample": record.sample,
        "question": record.question,
        "choices": list(record.choices),
        "target": record.target,
        "tags": dict(record.tags),
        "answers": [
            {
                "variant": name,
                "text": one.text,
                "extracted": one.extracted,
                "score": one.score,
            }
            for name, one in answers
        ],
    }
