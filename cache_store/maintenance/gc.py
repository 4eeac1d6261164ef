"""Make room: take packs out of the store, then, after a grace period, remove their files.

Safe while readers and writers run. A pack leaves the log first; readers that still know it finish
with the open file, or find it gone, look into the log, and report the unit as missing. Nothing
that was used within the grace period is taken, unless its whole signature was named.

A gc that was killed is continued by the next one: what it dropped is in the log, and which files
are due follows from the log and their age alone.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from encodeonce.cache_store.codec import DamagedChunk
from encodeonce.cache_store.durable import explain, server_now_s
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import Namespace
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

    @property
    def is_whole(self) -> bool:
        """Whether signatures go as a whole, even what is in use."""
        return self.signature is not None and self.unused_for_s is None and self.max_bytes is None

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
    removed: list[str] = field(default_factory=list)
    """Files of packs dropped earlier, and of writers that died."""
    removed_bytes: int = 0
    kept_bytes: int = 0
    """Of the packs that stay in the store."""

    @property
    def dropped_bytes(self) -> int:
        """Bytes that the dropped packs will free."""
        return sum(candidate.file_bytes for candidate in self.dropped)


def gc(home: Home, policy: GcPolicy) -> GcReport:
    """Apply a policy to a store. Two runs at once do no more than one.

    Raises:
        StoreError: there is no store, it cannot be written, or its log is damaged.
    """
    home.require()
    report = GcReport()
    found = find_signatures(home, policy.signature or "") if home.signatures() else []
    indexes = {index.namespace.digest: _sound(index) for index in found}
    candidates = [c for index in indexes.values() for c in _candidates(index)]
    chosen = _choose(candidates, policy)
    report.kept_bytes = sum(c.file_bytes for c in candidates) - sum(c.file_bytes for c in chosen)
    for digest, index in indexes.items():
        ours = [candidate for candidate in chosen if candidate.signature == digest]
        _remove_files(index, policy, report)  # first: on a full disk, the next step needs room
        if policy.dry_run:
            report.dropped += ours
            continue
        report.dropped += _drop(index, ours, policy)
        _repack(index, report)
        if policy.grace_s == 0:
            _remove_files(index, policy, report)
    return report


def _sound(index: NamespaceIndex) -> NamespaceIndex:
    if index.damaged_records:
        raise StoreError(
            f"commit records of signature {index.namespace.digest[:12]} are damaged: what they "
            "speak of could be taken for garbage. Run `encodeonce store verify` first, it repairs "
            "them"
        )
    return index


def _candidates(index: NamespaceIndex) -> Iterator[Candidate]:
    num_live_of = index.num_live()
    used_s = index.storage.last_uses(index.packs[number].pack for number in num_live_of)
    now_s = index.storage.now_s()
    for number, num_live in num_live_of.items():
        info = index.packs[number]
        yield Candidate(
            signature=index.namespace.digest,
            number=number,
            pack=info.pack,
            file_bytes=info.file_bytes,
            num_live=num_live,
            used_s=now_s - used_s.get(info.pack, now_s),
        )


def _choose(candidates: Iterable[Candidate], policy: GcPolicy) -> list[Candidate]:
    chosen: list[Candidate] = []
    rest: list[Candidate] = []
    for candidate in candidates:
        reason = ""
        if policy.is_whole:
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


def _drop(index: NamespaceIndex, chosen: list[Candidate], policy: GcPolicy) -> list[Candidate]:
    """Drop packs in the log, save those dropped by another gc or used by anybody meanwhile."""
    storage = index.storage

    def record() -> Record | None:
        live = set(index.live_packs())
        packs = tuple(c.pack for c in chosen if c.number in live)
        if not policy.is_whole:
            used_s, now_s = storage.last_uses(packs), storage.now_s()
            packs = tuple(p for p in packs if now_s - used_s.get(p, 0) >= policy.grace_s)
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
    storage = index.storage
    there = storage.packs()
    index.refresh()  # afterwards: of what is there now, the log knows all that is committed
    now_s = storage.now_s()
    dropped = {info.pack: info.dropped_at for info in index.packs if info.dropped_at}
    dropped = {pack: seq for pack, seq in dropped.items() if pack in there}
    dropped_s = storage.committed_s(dropped.values())
    known = {info.pack for info in index.packs}
    for pack, stored in there.items():
        if pack in dropped:
            is_due = now_s - dropped_s.get(dropped[pack], now_s) >= policy.grace_s
        else:
            is_due = pack not in known and now_s - stored.written_s > ABANDONED_S
        if is_due:
            if not policy.dry_run:
                storage.remove(pack)
            report.removed.append(storage.where(pack))
            report.removed_bytes += stored.num_bytes
    _remove_private(index.namespace, policy, report)


def _remove_private(namespace: Namespace, policy: GcPolicy, report: GcReport) -> None:
    """Remove files of writers that died: packs half-written, claims."""
    now_s = server_now_s(namespace.tmp)
    folders = (namespace.tmp, namespace.claims)
    for path in [path for folder in folders for path in folder.rglob("*") if path.is_file()]:
        try:
            found = path.stat()
            if now_s - found.st_mtime <= ABANDONED_S:
                continue
            if not policy.dry_run:
                path.unlink()
        except FileNotFoundError:  # another gc was faster
            continue
        report.removed.append(str(path))
        report.removed_bytes += found.st_size
