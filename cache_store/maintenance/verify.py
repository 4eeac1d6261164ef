"""Find all that is damaged or half-written in a store; stop serving it, and repair the rest."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest

import h5py

from encodeonce.cache_store.codec import DamagedChunk
from encodeonce.cache_store.commit import commit_pack, quarantine
from encodeonce.cache_store.durable import explain
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.log import LostRecord, PackRecord
from encodeonce.cache_store.maintenance.copying import copy_rows
from encodeonce.cache_store.maintenance.scrub import ScrubResult, scrub, vanished
from encodeonce.cache_store.maintenance.stat import Progress, no_progress
from encodeonce.cache_store.pack import write_pack
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.snapshot import check_snapshots
from encodeonce.cache_store.store import StoreError
from encodeonce.cache_store.unit_table import unit_digest

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class VerifyReport:
    """What was checked, and what was wrong."""

    num_packs: int = 0
    num_units: int = 0
    num_bytes: int = 0
    damaged_units: list[FeatureKey] = field(default_factory=list)
    """Found now: they are no longer read, and precompute encodes them again."""
    num_known_damaged: int = 0
    """Found earlier and not encoded again since."""
    repaired: list[str] = field(default_factory=list)
    """Damage that lost nothing: index records and snapshots, HDF5 structure, signatures."""
    unrepaired: list[str] = field(default_factory=list)
    """Damage that could not be repaired, for lack of permission or of a copy."""
    uncommitted: list[str] = field(default_factory=list)
    """Files of writers that were killed or are at work; nobody reads them, gc removes them."""

    @property
    def clean(self) -> bool:
        """Whether nothing was found, and nothing is left from before."""
        return not (
            self.damaged_units or self.num_known_damaged or self.repaired or self.unrepaired
        )


def verify(home: Home, on_progress: Progress = no_progress) -> VerifyReport:
    """Read everything and compare checksums. Progress is in bytes.

    Writers and readers may be at work. What is found damaged is marked as such for everybody.

    Raises:
        StoreError: there is no store, or it cannot be read.
    """
    home.require()
    report = VerifyReport()
    indexes = [_repaired(index, home, report) for index in home.indexes(is_replayed=True)]
    total = sum(index.packs[pack].file_bytes for index in indexes for pack in index.live_packs())

    def on_bytes(num_bytes: int) -> None:
        report.num_bytes += num_bytes
        on_progress(report.num_bytes, total)

    for index in indexes:
        report.num_known_damaged += index.num_damaged()
        for pack in index.live_packs():
            _verify_pack(index, pack, report, on_bytes)
        _check_signature(index, report)
        _find_uncommitted(index, report)
    return report


def _repaired(index: NamespaceIndex, home: Home, report: VerifyReport) -> NamespaceIndex:
    """Replace damaged records by whole ones, made from what the packs say themselves."""
    namespace = index.namespace
    report.repaired += [f"index snapshot {path}: removed" for path in check_snapshots(namespace)]
    for seq, adopted in zip_longest(index.damaged_records, index.adopted):
        record = adopted or LostRecord()
        if seq is None:
            index.append(lambda record=record: record)  # type: ignore[misc]
            continue
        try:
            index.log.repair(seq, record)
        except StoreError as error:
            report.unrepaired.append(f"commit record {namespace.record(seq)}: {error}")
        else:
            how = "rebuilt from its pack" if adopted else "no pack here belongs to it"
            report.repaired.append(f"commit record {namespace.record(seq)}: {how}")
    if index.damaged_records:
        (index,) = home.indexes(namespace.digest, is_replayed=True)
        index.write_snapshot()  # the older ones may number the repaired records differently
    return index


def _verify_pack(
    index: NamespaceIndex, pack: int, report: VerifyReport, on_bytes: Callable[[int], None]
) -> None:
    try:
        record = _pack_record(index, pack)
    except StoreError as error:
        report.unrepaired.append(str(error))
        return
    result = _scrubbed(index, pack, record, on_bytes)
    report.num_packs += 1
    live = list(index.live_rows(pack))
    report.num_units += len(live)
    reasons = {}
    for row, media, unit in live:
        if row in result.damaged_rows:
            reasons[unit_digest(media, unit)] = result.damaged_rows[row]
            report.damaged_units.append(FeatureKey(media, index.namespace.digest, unit))
    if reasons:
        quarantine(index, pack, reasons)
    if result.structure and len(reasons) < len(live):
        _rewrite(index, pack, result, report)


def _scrubbed(
    index: NamespaceIndex, pack: int, record: PackRecord, on_bytes: Callable[[int], None]
) -> ScrubResult:
    try:
        return scrub(index.storage.open(record.manifest.pack), record, on_bytes)
    except FileNotFoundError:
        index.refresh()  # a gc may have dropped it meanwhile: then none of its units is live
        return vanished(record)
    except OSError as error:
        raise explain(error, "reading", index.namespace.pack(record.manifest.pack)) from error


def _pack_record(index: NamespaceIndex, pack: int) -> PackRecord:
    record = index.log.read(index.packs[pack].seq)
    if not isinstance(record, PackRecord):
        raise StoreError(f"record {index.packs[pack].seq} of {index.namespace.log} is not a pack's")
    return record


def _rewrite(index: NamespaceIndex, pack: int, result: ScrubResult, report: VerifyReport) -> None:
    """Copy the good rows of a pack whose HDF5 structure is damaged into a new one."""
    where = index.where(pack)
    rows = [row for row, _, _ in index.live_rows(pack) if row not in result.damaged_rows]
    try:
        replace_pack(index, pack, rows)
    except (OSError, DamagedChunk, StoreError) as error:
        report.unrepaired.append(f"{where}: {result.structure}: {error}")
    else:
        report.repaired.append(f"{where}: {result.structure}: its units were copied to a new pack")


def replace_pack(index: NamespaceIndex, pack: int, rows: list[int]) -> None:
    """Replace a pack by a new one with some of its rows, unless it has been dropped meanwhile.

    Raises:
        DamagedChunk: a row is damaged.
        OSError, StoreError: the old pack cannot be read, or the new one not written.
    """
    old = index.packs[pack].pack
    manifest, frames = copy_rows(index.manifest(pack), index.storage.open(old), rows)
    written = write_pack(index.namespace, manifest, frames)
    index.storage.publish(manifest.pack)
    record = PackRecord(written.manifest, written.file_bytes, written.structure, replaces=old)
    commit_pack(index, record, lambda: not index.packs[pack].dropped_at)


def _check_signature(index: NamespaceIndex, report: VerifyReport) -> None:
    storage = index.storage
    try:
        storage.read_signature()
        return
    except StoreError as error:
        reason = str(error)
    for pack in index.live_packs():
        try:
            with (
                storage.file(index.packs[pack].pack) as path,
                h5py.File(path, "r", locking=False) as file,
            ):
                text = str(file.attrs["signature"]).encode("ascii")
            if hashlib.sha256(text).hexdigest() != index.namespace.digest:
                raise ValueError("it has another signature")
            storage.restore_signature(text)
            storage.read_signature()
        except (OSError, KeyError, ValueError, StoreError) as error:
            logger.warning("no signature from pack %s: %s", index.packs[pack].pack, error)
        else:
            report.repaired.append(f"{index.namespace.signature_file}: restored from a pack")
            return
    report.unrepaired.append(reason)


def _find_uncommitted(index: NamespaceIndex, report: VerifyReport) -> None:
    there = index.storage.packs()
    index.refresh()
    known = {info.pack for info in index.packs}
    storage = index.storage
    report.uncommitted += [storage.where(pack) for pack in there if pack not in known]
    if index.namespace.tmp.is_dir():
        report.uncommitted += sorted(map(str, index.namespace.tmp.iterdir()))
