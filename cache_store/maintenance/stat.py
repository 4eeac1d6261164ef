"""Describe what a store holds, in words that people understand."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.manifest import Units
from encodeonce.cache_store.store import StoreError

Progress = Callable[[int, int], None]
"""Called with the amounts of work done and of all work."""


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureStat:
    """What a store holds under one signature."""

    digest: str
    signature: Mapping[str, Any]
    """Its fields; empty if the file that holds them is damaged."""
    num_media: int
    num_units: int
    num_packs: int
    num_damaged: int
    """Units found damaged and not encoded again since."""
    file_bytes: int
    raw_bytes: int
    """Of the units, uncompressed."""
    dropped_bytes: int
    """Of packs that were dropped and wait for the end of their grace period."""
    provenance: Mapping[str, Mapping[str, int]]
    """Units by how they were made: ``{"benchmark": {"videomme": 115_200}, "host": {…}}``."""
    worst_loss: float | None
    """Largest measured relative error of a unit, for lossy codecs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaListing:
    """Units of one media item in one pack."""

    signature: str
    media: str
    units: tuple[str, ...]
    pack: str
    committed_s: float
    """Time of the commit, seconds since 1970, by the file server's clock."""
    provenance: Mapping[str, Any]


def stat(home: Home, on_progress: Progress = no_progress) -> list[SignatureStat]:
    """Return what the store holds, by signature. Progress is in packs.

    Raises:
        StoreError: there is no store, or it cannot be read.
    """
    home.require()
    indexes = home.indexes()
    total = sum(len(index.live_packs()) for index in indexes)
    done = 0
    stats = []
    for index in indexes:
        stats.append(_stat_one(index, lambda packs, done=done: on_progress(done + packs, total)))  # type: ignore[misc]
        done += len(index.live_packs())
    return stats


def ls(home: Home, signature: str = "", media: str = "") -> Iterator[MediaListing]:
    """Iterate over what is stored, for digests that begin with what is given.

    Raises:
        StoreError: there is no store, or it cannot be read.
    """
    home.require()
    for index in home.indexes(signature):
        num_live_of = index.num_live()
        times = index.storage.committed_s([index.packs[pack].seq for pack in num_live_of])
        for pack, num_live in num_live_of.items():
            info = index.packs[pack]
            for units, names in _live_units(index, pack, num_live):
                if units.media.startswith(media):
                    yield MediaListing(
                        signature=index.namespace.digest,
                        media=units.media,
                        units=names,
                        pack=info.pack,
                        committed_s=times.get(info.seq, time.time()),
                        provenance=units.provenance,
                    )


def describe(signature: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a signature's fields as (name, value) pairs for people."""
    return [
        ("vision tower", str(signature.get("tower", "?"))),
        ("weights (sha256)", str(signature.get("weights_sha256", "?"))),
        ("taken at", _in_words(signature.get("tap", {}))),
        ("preprocessing", _in_words(signature.get("preprocess", {}))),
        ("decoded by", str(signature.get("decoder", "?"))),
        ("stored as", f"{signature.get('dtype', '?')}, {signature.get('codec', '?')}"),
        ("numerics", _in_words(signature.get("numerics", {})) or "default"),
        ("schema", str(signature.get("schema", "?"))),
    ]


def find_signatures(home: Home, prefix: str) -> list[NamespaceIndex]:
    """Return the indexes of the signatures whose digest begins with ``prefix``.

    Raises:
        StoreError: none does.
    """
    found = home.indexes(prefix)
    if not found:
        known = ", ".join(digest[:12] for digest in home.signatures()) or "none"
        raise StoreError(f"no signature begins with {prefix!r}; there are: {known}")
    return found


def _stat_one(index: NamespaceIndex, on_packs: Callable[[int], None]) -> SignatureStat:
    provenance: dict[str, Counter[str]] = {}
    media: set[str] = set()
    losses: list[float] = []
    num_live = index.num_live()
    for done, pack in enumerate(num_live):
        on_packs(done)
        for units, names in _live_units(index, pack, num_live[pack]):
            media.add(units.media)
            losses += [loss for by_array in units.loss.values() for loss in by_array]
            for question, answer in units.provenance.items():
                provenance.setdefault(question, Counter())[str(answer)] += len(names)
    try:
        signature = index.storage.read_signature()
    except StoreError:
        signature = {}
    infos = [index.packs[pack] for pack in num_live]
    dropped = {info.pack: info.file_bytes for info in index.packs if info.dropped_at}
    there = index.storage.packs() if dropped else {}
    return SignatureStat(
        digest=index.namespace.digest,
        signature=signature,
        num_media=len(media),
        num_units=sum(num_live.values()),
        num_packs=len(infos),
        num_damaged=index.num_damaged(),
        file_bytes=sum(info.file_bytes for info in infos),
        raw_bytes=sum(info.raw_bytes for info in infos),
        dropped_bytes=sum(size for pack, size in dropped.items() if pack in there),
        provenance=provenance,
        worst_loss=max(losses, default=None),
    )


def _live_units(
    index: NamespaceIndex, pack: int, num_live: int
) -> Iterator[tuple[Units, tuple[str, ...]]]:
    """Iterate over a pack's `Units`, each with the names of those that are live; skip the dead."""
    if num_live == index.packs[pack].num_units:  # nearly always: no unit need be looked up
        yield from ((units, units.names) for units in index.manifest(pack).units)
        return
    live = {row for row, _, _ in index.live_rows(pack)}
    for units in index.manifest(pack).units:
        names = tuple(n for i, n in enumerate(units.names) if units.first_row + i in live)
        if names:
            yield units, names


def _in_words(value: Any) -> str:
    """Return nested values on one line: ``layer -2, cls dropped, size 336 × 336``."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_in_words(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " × ".join(_in_words(item) for item in value)
    return str(value)
