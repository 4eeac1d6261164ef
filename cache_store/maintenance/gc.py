"""Make room: take packs out of the store, then, after a grace period, remove their files.

Safe while readers and writers run. A pack leaves the log first; readers that still know it finish
with the open file, or find it gone, look into the log, and report the unit as missing. Nothing
that was used within the grace period is taken, unless its whole signature was named.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from encodeonce.cache_store.codec import DamagedChunk
from encodeonce.cache_store.durable import explain, server_now_s
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import Namespace, StoreFolder
from encodeonce.cache_store.log import DropRecord, Record
from encodeonce.cache_store.maintenance.stat import find_signatures
from encodeonce.cache_store.maintenance.verify import replace_pack
from encodeonce.cache_store.store import StoreError

logger = logging.getLogger(__name__)

HOUR_S = 3600.0
ABANDONED_S = 24 * HOUR_S
"""Age from which a writer's private file, or a pack never committed, counts as abandoned."""
REPACK_BELOW = 0.5
"""Packs with a smaller share of live units are rewritten without the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GcPolicy:
    """What may be removed. With nothing set, only what is of no use to anybody."""

    unused_for_s: float | None = None
    """Packs not used for longer than this."""
    max_bytes: int | None = None
    """Least recently used packs, until the store is no larger than this."""
    signature: str | None = None
    """Beginning of digests. Alone: all of these signatures; else the other rules, for them only."""
    grace_s: float = HOUR_S
    """From dropping a pack to removing its file: longer than any reader needs for a read."""
    dry_run: bool = False
    """Say what would be removed; change nothing."""

    def __post_init__(self) -> None:
        limits = {"unused_for_s": self.unused_for_s, "max_bytes": self.max_bytes}
        for name, value in {**limits, "grace_s": self.grace_s}.items():
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pack that may be removed."""

    signature: str
    number: int
    pack: str
    file_bytes: int
    num_live: int
    used_s: float
    """Seconds since it was used."""
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class GcReport:
    """What was removed, or would be."""

    dropped: list[Candidate] = field(default_factory=list)
    """Packs no longer in the store. The next gc after the grace period removes their files."""
    repacked: list[str] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    """Files of packs dropped earlier, and of writers that died."""
    removed_bytes: int = 0
    kept_bytes: int = 0
    """Of the packs that stay in the store."""

    @property
    def dropped_bytes(self) -> int:
        """Bytes that the dropped packs will free."""
        return sum(candidate.file_bytes for candidate in self.dropped)


def gc(folder: StoreFolder, policy: GcPolicy) -> GcReport:
    """Apply a policy to a store. Two runs at once do no more than one.

    Raises:
        StoreError: there is no store, it cannot be written, or its log is damaged.
    """
    folder.require()
    report = GcReport()
    namespaces = find_signatures(folder, policy.signature or "") if folder.namespaces() else []
    indexes = {namespace.digest: _sound_index(namespace) for namespace in namespaces}
    candidates = [c for index in indexes.values() for c in _candidates(index)]
    chosen = _choose(candidates, policy)
    report.kept_bytes = sum(c.file_bytes for c in candidates) - sum(c.file_bytes for c in chosen)
    for digest, index in indexes.items():
        ours = [candidate for candidate in chosen if candidate.signature == digest]
        _remove_files(index, policy, report)  # first: on a full disk, the next step needs room
        if policy.dry_run:
            report.dropped += ours
            continue
        report.dropped += _drop(index, ours)
        _repack(index, report)
        if policy.grace_s == 0:
            _remove_files(index, policy, report)
    return report


def _sound_index(namespace: Namespace) -> NamespaceIndex:
    index = NamespaceIndex(namespace)
    if index.damaged_records:
        raise StoreError(
            f"commit records of {namespace.folder} are damaged: what they speak of could be taken "
            "for garbage. Run `encodeonce store verify` first, it repairs them"
        )
    return index


def _candidates(index: NamespaceIndex) -> Iterator[Candidate]:
    namespace = index.namespace
    now_s = server_now_s(namespace.tmp)
    for number, num_live in index.num_live().items():
        info = index.packs[number]
        yield Candidate(
            signature=namespace.digest,
            number=number,
            pack=info.pack,
            file_bytes=info.file_bytes,
            num_live=num_live,
            used_s=now_s - _last_use_s(namespace, info.pack, now_s),
        )


def _last_use_s(namespace: Namespace, pack: str, now_s: float) -> float:
    times = []
    for path in (namespace.pack(pack), namespace.used(pack)):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=now_s)


def _choose(candidates: Iterable[Candidate], policy: GcPolicy) -> list[Candidate]:
    whole = (
        policy.signature is not None and policy.unused_for_s is None and policy.max_bytes is None
    )
    chosen: list[Candidate] = []
    rest: list[Candidate] = []
    for candidate in candidates:
        reason = ""
        if whole:
            reason = "its signature was named"
        elif candidate.used_s < policy.grace_s:
            pass
        elif candidate.num_live == 0:
            reason = "none of its units is live"
        elif policy.unused_for_s is not None and candidate.used_s > policy.unused_for_s:
            reason = "unused for too long"
        (chosen if reason else rest).append(replace(candidate, reason=reason))
    if policy.max_bytes is not None:
        too_much = sum(candidate.file_bytes for candidate in rest) - policy.max_bytes
        for candidate in sorted(rest, key=lambda c: -c.used_s):
            if too_much > 0 and candidate.used_s >= policy.grace_s:
                chosen.append(replace(candidate, reason="least recently used"))
                too_much -= candidate.file_bytes
    return chosen


def _drop(index: NamespaceIndex, chosen: list[Candidate]) -> list[Candidate]:
    """Drop packs in the log, except for those that another gc has dropped meanwhile."""

    def record() -> Record | None:
        live = set(index.live_packs())
        packs = tuple(c.pack for c in chosen if c.number in live)
        return DropRecord(packs, f"gc: {chosen[0].reason}") if packs else None

    committed = index.append(record) if chosen else None
    if not isinstance(committed, DropRecord):
        return []
    return [candidate for candidate in chosen if candidate.pack in committed.packs]


def _repack(index: NamespaceIndex, report: GcReport) -> None:
    """Rewrite packs with few live units, so that their space can be freed."""
    for number, num_live in index.num_live().items():
        info = index.packs[number]
        if 0 < num_live < REPACK_BELOW * info.num_units:
            rows = [row for row, _, _ in index.live_rows(number)]
            try:
                replace_pack(index, number, rows)
            except (OSError, DamagedChunk, StoreError) as error:
                logger.warning("pack %s stays as it is: %s", info.pack, error)
            else:
                report.repacked.append(info.pack)


def _remove_files(index: NamespaceIndex, policy: GcPolicy, report: GcReport) -> None:
    try:
        _remove_due(index, policy, report)
    except OSError as error:
        raise explain(error, "removing files in", index.namespace.folder) from error


def _remove_due(index: NamespaceIndex, policy: GcPolicy, report: GcReport) -> None:
    namespace = index.namespace
    now_s = server_now_s(namespace.tmp)
    known = {info.pack for info in index.packs}
    for info in index.packs:
        path = namespace.pack(info.pack)
        if info.dropped_at and path.exists():
            dropped_s = namespace.record(info.dropped_at).stat().st_mtime
            if now_s - dropped_s >= policy.grace_s:
                _remove(path, policy, report)
                _remove(namespace.used(info.pack), policy, report)
    abandoned = [namespace.pack(pack) for pack in namespace.stored_packs() if pack not in known]
    for folder in (namespace.tmp, namespace.claims):
        abandoned += [path for path in folder.rglob("*") if path.is_file()]
    for path in abandoned:
        try:
            age_s = now_s - path.stat().st_mtime
        except FileNotFoundError:
            continue
        if age_s > ABANDONED_S:
            _remove(path, policy, report)


def _remove(path: Path, policy: GcPolicy, report: GcReport) -> None:
    try:
        num_bytes = path.stat().st_size
        if not policy.dry_run:
            path.unlink()
    except FileNotFoundError:  # another gc was faster
        return
    report.removed.append(path)
    report.removed_bytes += num_bytes
