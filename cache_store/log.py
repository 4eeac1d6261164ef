"""The commit log of a namespace: numbered records, each written once.

A record is committed when ``log/…/<n>.json`` exists. Writers on all hosts compete for the
next number with `os.link`, which exactly one of them wins; the others read its record and try the
next number. So all agree on one order of events, without a server and without locks.

A record is two lines: canonical JSON, and the XXH3-128 of that JSON. Kinds:

- ``pack``: a pack is committed (`Manifest`, plus what the file must look like).
- ``drop``: packs are no longer part of the store.
- ``damage``: units of a pack were found damaged and are no longer read.
- ``lost``: takes the place of a record that was destroyed and could not be rebuilt.
"""

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from encodeonce.cache_store.durable import explain, make_folder, publish_first, replace
from encodeonce.cache_store.layout import FORMAT, Namespace, refuse_unknown
from encodeonce.cache_store.manifest import Manifest
from encodeonce.cache_store.signature import canonical_json
from encodeonce.cache_store.store import StoreError

logger = logging.getLogger(__name__)

STALE_NAME_S = 2.0
"""How long a network filesystem may still hide a file that another host has just linked."""


class DamagedRecord(StoreError):
    """A commit record's bytes are not what was written."""


@dataclass(frozen=True, slots=True)
class PackRecord:
    """A pack is committed."""

    manifest: Manifest
    file_bytes: int
    structure: str
    """XXH3-128 of the file's bytes outside of chunks, in file order."""
    replaces: str = ""
    """Pack that this one replaces, if any."""


@dataclass(frozen=True, slots=True)
class DropRecord:
    """Packs are no longer part of the store; their files may go after a grace period."""

    packs: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class DamageRecord:
    """Units of a pack are damaged."""

    pack: str
    digests: tuple[bytes, ...]
    """Of the units (`unit_table.unit_digest`)."""
    reason: str


@dataclass(frozen=True, slots=True)
class LostRecord:
    """No information: the record that had this number was destroyed."""


Record = PackRecord | DropRecord | DamageRecord | LostRecord


class Log:
    """Reads and appends records of one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def read(self, seq: int) -> Record | None:
        """Return record ``seq``, or None when the log ends before it.

        Raises:
            DamagedRecord: its bytes are not what was written.
            StoreError: a newer program wrote it, or it cannot be read.
        """
        path = self._namespace.record(seq)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explain(error, "reading", path) from error
        return decode_record(data, path)

    def append(self, record: Record, seq: int) -> bool:
        """Commit ``record`` as number ``seq``; False when another record has that number.

        Raises:
            StoreError: it cannot be written.
        """
        path = self._namespace.record(seq)
        try:
            make_folder(path.parent)
            return publish_first(encode_record(record), path, self._namespace.tmp)
        except OSError as error:
            raise explain(error, "committing to", self._namespace.log) from error

    def repair(self, seq: int, record: Record) -> None:
        """Replace a destroyed record, which is kept in quarantine, by ``record``.

        A number without a file may just be invisible to this host, so it is filled by a link,
        which overwrites nothing.

        Raises:
            StoreError: it cannot be written.
        """
        path = self._namespace.record(seq)
        try:
            make_folder(path.parent)
            if publish_first(encode_record(record), path, self._namespace.tmp):
                return
            if self._is_whole(seq):
                return
            make_folder(self._namespace.quarantine)
            os.link(path, self._namespace.quarantine / f"{path.name}.{time.time_ns()}")
            replace(encode_record(record), path, self._namespace.tmp)
        except OSError as error:
            raise explain(error, "repairing", path) from error

    def _is_whole(self, seq: int) -> bool:
        try:
            return self.read(seq) is not None
        except DamagedRecord:
            return False

    def last(self) -> int:
        """Return the highest number in use, by listing; 0 when there is none."""
        try:
            folders = sorted(path for path in self._namespace.log.iterdir() if path.is_dir())
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise explain(error, "listing", self._namespace.log) from error
        for folder in reversed(folders):
            numbers = [int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit()]
            if numbers:
                return max(numbers)
        return 0

    def wait_for(self, seq: int) -> None:
        """Wait until a record that another host has linked can be seen here.

        Raises:
            StoreError: it stays invisible.
        """
        path = self._namespace.record(seq)
        give_up_s = time.monotonic() + STALE_NAME_S
        while not path.exists():
            if time.monotonic() > give_up_s:
                raise StoreError(
                    f"{path} exists for writing but not for reading; is the filesystem mounted "
                    "with stale caches on this host?"
                )
            time.sleep(0.05)
            self.last()  # listing the folder makes NFS forget what it has cached about its names


def encode_record(record: Record) -> bytes:
    """Return the bytes of a record's file."""
    text = canonical_json(_to_dict(record)).encode("ascii")
    return text + b"\n" + xxhash.xxh3_128_hexdigest(text).encode("ascii") + b"\n"


def decode_record(data: bytes, where: Path) -> Record:
    """Return the record in a file's bytes.

    Raises:
        DamagedRecord: the bytes are not what was written.
        StoreError: a newer program wrote it.
    """
    text, _, rest = data.partition(b"\n")
    if rest != xxhash.xxh3_128_hexdigest(text).encode("ascii") + b"\n":
        raise DamagedRecord(f"{where} is damaged: run `encodeonce store verify`")
    stored = json.loads(text)
    refuse_unknown(stored["format"], stored.get("requires", []), where)
    try:
        return _from_dict(stored, where)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedRecord(f"{where} was written wrong: {error!r}") from error


def _to_dict(record: Record) -> dict[str, Any]:
    match record:
        case PackRecord(manifest, file_bytes, structure, replaces):
            return {
                **manifest.to_dict(),
                "kind": "pack",
                "file_bytes": file_bytes,
                "structure": structure,
                "replaces": replaces,
            }
        case DropRecord(packs, reason):
            return {"format": FORMAT, "kind": "drop", "packs": list(packs), "reason": reason}
        case DamageRecord(pack, digests, reason):
            units = [digest.hex() for digest in digests]
            body = {"kind": "damage", "pack": pack, "units": units, "reason": reason}
            return {"format": FORMAT, **body}
        case LostRecord():
            return {"format": FORMAT, "kind": "lost"}


def _from_dict(stored: Mapping[str, Any], where: Path) -> Record:
    match stored["kind"]:
        case "pack":
            return PackRecord(
                Manifest.from_dict(stored),
                stored["file_bytes"],
                stored["structure"],
                stored["replaces"],
            )
        case "drop":
            return DropRecord(tuple(stored["packs"]), stored["reason"])
        case "damage":
            digests = tuple(bytes.fromhex(digest) for digest in stored["units"])
            return DamageRecord(stored["pack"], digests, stored["reason"])
        case "lost":
            return LostRecord()
        case kind:
            raise StoreError(
                f"{where} is of kind {kind!r}, which this program does not know: "
                "use a newer version of encodeonce"
            )
