"""A store in object storage: packs and log there, and on a local disk a copy of the log.

Names of objects are the paths of the same files in a folder (`FORMAT.md`), so that a store can be
copied from one to the other. Claims and notes of use are local: several machines may encode one
media item at the same time, and the first to commit it is the one that counts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encodeonce.cache_store.codec import DamagedChunk
from encodeonce.cache_store.durable import explain, make_folder
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import (
    DIGEST,
    PACKS_IN,
    StoreFolder,
    check_header,
    header_text,
)
from encodeonce.cache_store.objects.bucket import Bucket
from encodeonce.cache_store.objects.log import ObjectLog
from encodeonce.cache_store.reading import Array, PackFile
from encodeonce.cache_store.signature import Signature, canonical_json
from encodeonce.cache_store.store import StoreError

MAX_GAP_BYTES = 256 * 1024
"""Bytes that nobody asked for and that are fetched all the same, rather than asking twice."""

MAX_SPAN_BYTES = 32 * 2**20
"""Larger reads are several, at the same time."""


class ObjectPack(PackFile):
    """A pack in object storage, read by ranges; `ahead` fetches them, `read_into` only copies."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self._fetched: list[tuple[int, bytes]] = []

    def ahead(self, ranges: Sequence[tuple[int, int]]) -> PackFile:
        """Fetch ranges, neighbours together; return what to read them from."""
        spans = merged(ranges)
        found = ObjectPack(self._bucket, self._name)
        parts = self._bucket.get_ranges(self._name, spans)
        found._fetched = [(start, part) for (start, _), part in zip(spans, parts, strict=True)]
        return found

    def read_into(self, out: Array, offset: int) -> None:
        """Fill ``out`` with the bytes from ``offset`` on, which were fetched."""
        for start, part in self._fetched:
            if start <= offset < start + len(part):
                have = np.frombuffer(part, np.uint8)[offset - start :][: out.nbytes]
                if len(have) < out.nbytes:
                    break
                out.view(np.uint8).reshape(-1)[:] = have
                return
        raise DamagedChunk("the object is too short")


@dataclass(frozen=True, slots=True)
class CopyFolder(StoreFolder):
    """The folder of a copy. Its header keeps maintenance away, which would miss the packs."""

    url: str

    def exists(self) -> bool:
        """Say whether the copy was begun."""
        return self.header.exists()

    def header_text(self) -> str:
        """Return a header that says where the packs are."""
        return header_text(f"{PACKS_IN}{self.url}")


class ObjectHome(Home):
    """Where a store's files are, if that is in object storage.

    Args:
        url: of the store, ``s3://bucket/prefix``.
        folder: for copies of logs and packs on their way; each URL has a folder of its own in it.
        read_only: whether nothing may be written to the URL.

    Raises:
        StoreError: there is a store in an unknown format, or nothing can be read there.
    """

    def __init__(self, url: str, folder: Path, read_only: bool = False) -> None:
        self._bucket = Bucket(url)
        name = hashlib.sha256(self._bucket.url.encode()).hexdigest()[:16]
        self.folder = CopyFolder(folder / f"objects-{name}", self._bucket.url)
        self.read_only = read_only
        self._is_there = self._find_header()

    def open_index(self, digest: str) -> NamespaceIndex | None:
        """Return the index of a signature's features; None while there are none."""
        namespace = self.folder.namespace(digest)
        if not self._bucket.exists(self._name(namespace.signature_file)):
            return None
        try:
            for path in (namespace.tmp, namespace.packs, namespace.log, namespace.snapshots):
                make_folder(path)
        except OSError as error:
            raise explain(error, "making", namespace.folder) from error
        log = ObjectLog(namespace, self.folder.root, self._bucket)
        return NamespaceIndex(namespace, is_writer=not self.read_only, log=log)

    def create_namespace(self, signature: Signature) -> None:
        """Make a place for a signature's features unless there is one; see `Home`."""
        if not self._is_there:
            self._bucket.create(self.folder.header.name, header_text().encode())
            self._is_there = self._find_header()
        namespace = self.folder.create_namespace(signature)
        text = canonical_json(signature.to_dict()).encode()
        self._bucket.create(self._name(namespace.signature_file), text)

    def signatures(self) -> Sequence[str]:
        """Return the digests of the signatures that have features."""
        parts = [name.split("/") for name in self._bucket.names("ns")]
        return sorted({part[1] for part in parts if DIGEST.fullmatch(part[1])})

    def open_pack(self, path: Path) -> PackFile:
        """Open a pack.

        Raises:
            FileNotFoundError: it was removed.
        """
        name = self._name(path)
        if not self._bucket.exists(name):
            raise FileNotFoundError(name)
        return ObjectPack(self._bucket, name)

    def publish(self, path: Path) -> None:
        """Upload a pack, whole, and remove the local file.

        Raises:
            StoreError: it cannot be written.
        """
        try:
            self._bucket.upload(path, self._name(path))
        finally:
            super().discard(path)

    def discard(self, path: Path) -> None:
        """Remove a pack that will not be committed."""
        self._bucket.remove(self._name(path))

    def require(self) -> None:
        """Check that a store is there.

        Raises:
            StoreError: there is none.
        """
        if not self._is_there:
            raise StoreError(f"no feature store at {self._bucket.url} (no store.json there)")

    def _find_header(self) -> bool:
        header = self._bucket.get(self.folder.header.name)
        if header is not None:
            check_header(header, Path(self._bucket.url) / self.folder.header.name)
        return header is not None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder.root).as_posix()


def merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, each (start, end), with those joined that lie close together.

    >>> merged([(300, 400), (0, 100), (100, 200)])
    [(0, 400)]
    """
    spans: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        is_near = bool(spans) and start - spans[-1][1] <= MAX_GAP_BYTES
        if is_near and end - spans[-1][0] <= MAX_SPAN_BYTES:
            spans[-1] = spans[-1][0], max(spans[-1][1], end)
        else:
            spans.append((start, end))
    return spans
