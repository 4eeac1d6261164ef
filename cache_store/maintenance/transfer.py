"""Carry a part of a store to another cluster, as one file.

The file is a tar: ``encodeonce-export.json``, then for each pack its signature, its commit record
and the pack itself. Everything is verified when it is written and again when it is read.
"""

import io
import json
import os
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from encodeonce.cache_store.codec import DamagedChunk
from encodeonce.cache_store.commit import commit_pack
from encodeonce.cache_store.durable import explain, sync_folder
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import FORMAT, refuse_unknown
from encodeonce.cache_store.log import PackRecord, decode_record, encode_record
from encodeonce.cache_store.maintenance.copying import copy_rows
from encodeonce.cache_store.maintenance.scrub import scrub
from encodeonce.cache_store.maintenance.stat import Progress, find_signatures, no_progress
from encodeonce.cache_store.pack import write_pack, write_pack_file
from encodeonce.cache_store.reading import PackFile
from encodeonce.cache_store.signature import Signature, canonical_json
from encodeonce.cache_store.store import CorruptFeatures, StoreError
from encodeonce.cache_store.unit_table import unit_digest

HEADER = "encodeonce-export.json"
_Chosen = tuple[NamespaceIndex, int, list[int]]
"""Rows of a pack, by the pack's number in its index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """What was transferred."""

    num_packs: int
    num_units: int
    num_skipped: int
    """Units that were stored already."""
    num_bytes: int


def export_store(
    home: Home,
    target: Path,
    signature: str = "",
    media: Collection[str] | None = None,
    on_progress: Progress = no_progress,
) -> TransferReport:
    """Write a part of a store to ``target``, which appears once it is complete.

    Args:
        home: the store; it is only read.
        target: path of the tar.
        signature: beginning of the digests to export; all when empty.
        media: SHA-256 digests of the media to export; all when None.
        on_progress: called with the numbers of packs done and of all packs.

    Raises:
        StoreError: there is no store, nothing to export, or ``target`` cannot be written.
        CorruptFeatures: a unit is damaged.
    """
    home.require()
    indexes = find_signatures(home, signature)
    work = [(index, *chosen) for index in indexes for chosen in _chosen_rows(index, media)]
    if not work:
        raise StoreError(f"nothing in {home.place} matches: see `encodeonce store ls`")
    private = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        _write_tar(private, work, on_progress)
        num_bytes = private.stat().st_size
        private.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise explain(error, "writing", target) from error
    finally:
        private.unlink(missing_ok=True)
    on_progress(len(work), len(work))
    num_units = sum(len(rows) for _, _, rows in work)
    return TransferReport(
        num_packs=len(work), num_units=num_units, num_skipped=0, num_bytes=num_bytes
    )


def _write_tar(path: Path, work: Sequence[_Chosen], on_progress: Progress) -> None:
    with path.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            header = {"format": FORMAT, "requires": [], "num_packs": len(work)}
            _add(tar, HEADER, canonical_json(header).encode("ascii"))
            for done, (index, pack, rows) in enumerate(work):
                on_progress(done, len(work))
                _export_pack(tar, index, pack, rows, path.parent)
        file.flush()
        os.fsync(file.fileno())


def import_store(home: Home, source: Path, on_progress: Progress = no_progress) -> TransferReport:
    """Commit what an export holds; units that are stored already are skipped.

    Each pack is verified before it is committed. Repeat an import that was interrupted.

    Raises:
        CorruptFeatures: the file is damaged; packs before the damage are committed.
        StoreError: the file is not an export, or the store cannot be written.
    """
    done = num_units = num_skipped = 0
    indexes: dict[str, NamespaceIndex] = {}
    try:
        with tarfile.open(source, mode="r:") as tar:
            num_packs = _read_header(tar, source)
            for signature, record, pack_file in _members(tar, source):
                on_progress(done, num_packs)
                if signature.digest not in indexes:
                    indexes[signature.digest] = _index_for(home, signature)
                written = _import_pack(indexes[signature.digest], record, pack_file)
                num_units += written
                num_skipped += record.manifest.num_rows - written
                done += 1
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise CorruptFeatures(f"{source} is damaged or no export: {error}") from error
    except OSError as error:
        raise explain(error, "importing", source) from error
    if done != num_packs:
        raise CorruptFeatures(f"{source} ends after {done} of {num_packs} packs")
    on_progress(done, num_packs)
    return TransferReport(
        num_packs=done,
        num_units=num_units,
        num_skipped=num_skipped,
        num_bytes=source.stat().st_size,
    )


def _chosen_rows(
    index: NamespaceIndex, media: Collection[str] | None
) -> Iterator[tuple[int, list[int]]]:
    for pack in index.live_packs():
        rows = [r for r, name, _ in index.live_rows(pack) if media is None or name in media]
        if rows:
            yield pack, rows


def _export_pack(
    tar: tarfile.TarFile, index: NamespaceIndex, pack: int, rows: list[int], scratch: Path
) -> None:
    """Add one pack; if only some of its rows are wanted, a new pack of those."""
    info, where = index.packs[pack], index.where(pack)
    signature = canonical_json(index.storage.read_signature()).encode("ascii")
    record = index.log.read(info.seq)
    whole = isinstance(record, PackRecord) and len(rows) == record.manifest.num_rows
    if isinstance(record, PackRecord) and whole:
        with index.storage.file(info.pack) as path:
            if not scrub(PackFile(path), record).clean:
                raise CorruptFeatures(f"{where} is damaged: run `encodeonce store verify`")
            _add_pack(tar, signature, record, path)
        return
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        part = Path(folder) / "part.h5"
        try:
            file = index.storage.open(info.pack)
            manifest, frames = copy_rows(index.manifest(pack), file, rows)
        except DamagedChunk as error:
            raise CorruptFeatures(f"{where}: {error}: run `encodeonce store verify`") from error
        record = write_pack_file(part, manifest, frames, signature.decode("ascii"))
        _add_pack(tar, signature, record, part)


def _add_pack(tar: tarfile.TarFile, signature: bytes, record: PackRecord, path: Path) -> None:
    prefix = f"{record.manifest.signature}/{record.manifest.pack}"
    _add(tar, f"{prefix}.signature.json", signature)
    _add(tar, f"{prefix}.json", encode_record(record))
    tar.add(path, f"{prefix}.h5", recursive=False)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _read_header(tar: tarfile.TarFile, source: Path) -> int:
    member = tar.next()
    if member is None or member.name != HEADER:
        raise StoreError(f"{source} is no export of a feature store: it does not begin with one")
    header = json.loads(_read(tar, member))
    refuse_unknown(header["format"], header["requires"], source)
    return int(header["num_packs"])


def _members(
    tar: tarfile.TarFile, source: Path
) -> Iterator[tuple[Signature, PackRecord, Callable[[Path], None]]]:
    """Iterate over (signature, record, function that writes the pack to a path).

    Names inside the tar do not matter: order and content tell what is what.
    """
    while (first := tar.next()) is not None:
        signature = Signature(**json.loads(_read(tar, first)))
        record = decode_record(_read(tar, tar.next()), source)
        body = tar.next()
        if not isinstance(record, PackRecord) or record.manifest.signature != signature.digest:
            raise ValueError("a pack's record is not of its signature")

        def write_to(path: Path, body: tarfile.TarInfo | None = body) -> None:
            content = tar.extractfile(body) if body is not None else None
            if content is None:
                raise ValueError("a pack is missing")
            with content, path.open("xb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())

        yield signature, record, write_to


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> bytes:
    content = tar.extractfile(member) if member is not None else None
    if content is None:
        raise ValueError("it ends too early")
    with content:
        return content.read()


def _index_for(home: Home, signature: Signature) -> NamespaceIndex:
    home.create_namespace(signature)
    index = home.open_index(signature.digest)
    assert index is not None  # its folder has just been made
    return index


def _import_pack(
    index: NamespaceIndex, record: PackRecord, write_to: Callable[[Path], None]
) -> int:
    """Verify and commit one pack; return how many of its units were new."""
    index.refresh()
    if not _absent_rows(index, record):
        return 0
    private = index.namespace.tmp / f"{uuid.uuid4().hex}.import.tmp"
    try:
        write_to(private)
        if not scrub(PackFile(private), record).clean:
            raise CorruptFeatures(f"pack {record.manifest.pack} of the export is damaged")
        return _commit_rows(index, record, private)
    finally:
        private.unlink(missing_ok=True)


def _absent_rows(index: NamespaceIndex, record: PackRecord) -> list[int]:
    rows = list(record.manifest.rows())
    places = index.locate_committed([unit_digest(media, unit) for _, media, unit in rows])
    return [row for (row, _, _), place in zip(rows, places, strict=True) if place is None]


def _commit_rows(index: NamespaceIndex, record: PackRecord, private: Path) -> int:
    """Copy the absent rows into a pack of our own: two writers never share a pack's name."""
    while rows := _absent_rows(index, record):
        manifest, frames = copy_rows(record.manifest, PackFile(private), rows)
        ours = write_pack(index.namespace, manifest, frames)
        index.storage.publish(manifest.pack)
        if commit_pack(index, ours, partial(_are_absent, index, record, rows)):
            return len(rows)
    return 0


def _are_absent(index: NamespaceIndex, record: PackRecord, rows: list[int]) -> bool:
    return _absent_rows(index, record) == rows
