"""Answers about media files that have other content by now: they are left out and asked for again.

A record keeps the digests of its sample's files. Of records older than that, precompute's journal
tells what the files were.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from encodeonce.datasets.media.media import MediaRef
from encodeonce.harness.run.plan import MediaGroup
from encodeonce.harness.run.reasons import media_item
from encodeonce.harness.run.record import Record

Digest = Callable[[Path, MediaRef], str | None]
"""Returns the SHA-256 of a media file now; None if it cannot be known."""

_NUM_THREADS = 4  # hashing releases Python's lock; a disk gains little from more readers


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """What was asked about files that have been replaced since."""

    answers: frozenset[tuple[str, str, str]]
    """(benchmark, sample, variant) of each answer that is about an earlier content."""
    files: tuple[str, ...]
    """The files, by `media_item`."""


def without_replaced(records: Iterable[Record]) -> list[Record]:
    """Return one record per sample and variant: its answer, or else its last error.

    The last record that knows its files decides which content a sample is about; records that
    know another are left out, under whatever variant.

    Args:
        records: in the order in which they were written.
    """
    latest: dict[tuple[str, str, str], Record] = {}
    media_of: dict[tuple[str, str], tuple[str, ...]] = {}
    for record in records:
        known = latest.get(record.key)
        if known is None or known.error is not None or not record.is_about_files_of(known):
            latest[record.key] = record
        if record.media_sha256:
            media_of[record.benchmark, record.sample] = record.media_sha256
    return [
        record
        for record in latest.values()
        if record.media_sha256 in ((), media_of.get((record.benchmark, record.sample)))
    ]


def find_replaced(
    groups: Sequence[MediaGroup],
    records: Sequence[Record],
    journal: Sequence[Mapping[str, Any]],
    digest: Digest,
) -> Replaced:
    """Return which answers are about an earlier content of their files.

    Files that nothing is known about, now or then, count as unchanged.

    Args:
        groups: the samples; files of those without an answer are not looked at.
        records: the run's.
        journal: precompute's outcomes.
        digest: called once for each file, from several threads.
    """
    answers: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.error is None:
            answers.setdefault((record.benchmark, record.sample), []).append(record)
    asked = [
        (group, found)
        for group in groups
        for sample in group.samples
        if (found := answers.get((group.benchmark, sample.id)))
    ]
    refs = {
        media_item(group.root, ref): (group.root, ref) for group, _ in asked for ref in group.media
    }
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        now = dict(zip(refs, pool.map(lambda one: digest(*one), refs.values()), strict=True))
    past = _Journal(journal)
    stale, files = set(), {}
    for group, found in asked:
        items = [media_item(group.root, ref) for ref in group.media]
        for record in found:
            then = record.media_sha256 or past.digests(items, record.finished_at)
            changed = [
                item
                for item, old in zip(items, then, strict=False)
                if None not in (old, now[item]) and old != now[item]
            ]
            if changed:
                stale.add(record.key)
                files.update(dict.fromkeys(changed))
    return Replaced(answers=frozenset(stale), files=tuple(files))


class _Journal:
    """What precompute found in each file, and when."""

    def __init__(self, outcomes: Sequence[Mapping[str, Any]]) -> None:
        self._known: dict[str, list[tuple[datetime, str]]] = {}
        for one in outcomes:
            if one["status"] == "ok" and one.get("finished_at"):
                finished_at = datetime.fromisoformat(one["finished_at"])
                self._known.setdefault(one["item"], []).append((finished_at, one["value"]["media"]))

    def digests(self, items: Sequence[str], asked_at: str | None) -> list[str | None]:
        """Return the digest of each file when it was last encoded before it was asked about."""
        if asked_at is None:
            return [None] * len(items)
        return [self._digest(item, datetime.fromisoformat(asked_at)) for item in items]

    def _digest(self, item: str, asked_at: datetime) -> str | None:
        known = self._known.get(item, [])
        at = bisect_right(known, asked_at, key=lambda one: one[0])
        return known[at - 1][1] if at else None
