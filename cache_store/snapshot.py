"""Save a namespace's index: opening a store must not mean reading its whole history.

A snapshot is what the log says up to some record. It is a cache: a missing or damaged one costs
time, and the log has the last word. One JSON line (pack table, sizes), then two `UnitTable`s, then
the XXH3-128 of everything before.
"""

import json
import logging
import uuid
from dataclasses import astuple, dataclass
from pathlib import Path

import xxhash

from encodeonce.cache_store.durable import replace
from encodeonce.cache_store.layout import FORMAT, Namespace
from encodeonce.cache_store.signature import canonical_json
from encodeonce.cache_store.unit_table import UnitTable

logger = logging.getLogger(__name__)

KEPT = 2
"""Snapshots kept beside the newest, for readers that are just opening one of them."""


@dataclass(slots=True)
class PackInfo:
    """What the index keeps about a committed pack."""

    pack: str
    seq: int
    """Number of the record that committed it."""
    num_units: int
    file_bytes: int
    raw_bytes: int
    dropped_at: int = 0
    """Number of the record that dropped it; 0 while it is part of the store."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of the index after record ``seq``."""

    seq: int
    packs: tuple[PackInfo, ...]
    live: UnitTable
    """Units that can be read."""
    damaged: UnitTable
    """Units known to be damaged and not stored again since."""


def write_snapshot(namespace: Namespace, snapshot: Snapshot) -> None:
    """Write a snapshot, and remove those that are too old to be in use.

    Raises:
        OSError: it cannot be written.
    """
    header = {
        "format": FORMAT,
        "seq": snapshot.seq,
        "num_live": len(snapshot.live),
        "num_damaged": len(snapshot.damaged),
        "packs": [list(astuple(info)) for info in snapshot.packs],
    }
    text = canonical_json(header).encode("ascii")
    text += b" " * (-(len(text) + 1) % 8) + b"\n"  # the columns are aligned
    data = text + snapshot.live.to_bytes() + snapshot.damaged.to_bytes()
    data += xxhash.xxh3_128_digest(data)
    path = namespace.snapshots / f"{snapshot.seq:09d}.{uuid.uuid4().hex[:8]}.snapshot"
    replace(data, path, namespace.tmp)
    for old in _newest_first(namespace)[1 + KEPT :]:
        old.unlink(missing_ok=True)


def read_snapshot(namespace: Namespace) -> Snapshot | None:
    """Return the newest whole snapshot, or None."""
    for path in _newest_first(namespace):
        try:
            return _decode(path.read_bytes())
        except FileNotFoundError:
            continue  # a writer has just removed an old one
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("ignoring the index snapshot %s: %s", path, error)
    return None


def _decode(data: bytes) -> Snapshot:
    if xxhash.xxh3_128_digest(memoryview(data)[:-16]) != data[-16:]:
        raise ValueError("its checksum is wrong")
    end_of_header = data.index(b"\n")
    header = json.loads(data[:end_of_header])
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']}")
    live = UnitTable.from_buffer(data, header["num_live"], end_of_header + 1)
    end_of_live = end_of_header + 1 + len(live.to_bytes())
    damaged = UnitTable.from_buffer(data, header["num_damaged"], end_of_live)
    packs = tuple(PackInfo(*info) for info in header["packs"])
    return Snapshot(header["seq"], packs, live, damaged)


def _newest_first(namespace: Namespace) -> list[Path]:
    return sorted(namespace.snapshots.glob("*.snapshot"), reverse=True)


def check_snapshots(namespace: Namespace) -> list[Path]:
    """Remove the damaged snapshots and return them. They are only a cache.

    Raises:
        OSError: one cannot be read.
    """
    damaged = []
    for path in _newest_first(namespace):
        try:
            _decode(path.read_bytes())
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("removing the index snapshot %s: %s", path, error)
            damaged.append(path)
            path.unlink(missing_ok=True)
    return damaged
