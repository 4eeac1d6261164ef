"""A store in object storage: packs and log there, and on a local disk a copy of the log.

Names of objects are the paths of the same files in a folder (`FORMAT.md`), so that a store can be
copied from one to the other. Claims are local: several machines may encode one media item at the
same time, and the first to commit it is the one that counts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encodeonce.cache_store.durable import explain, make_folder, replace
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
from encodeonce.cache_store.objects.storage import ObjectStorage
from encodeonce.cache_store.signature import Signature, canonical_json
from encodeonce.cache_store.store import StoreError


@dataclass(frozen=True, slots=True)
class CopyFolder(StoreFolder):
    """The folder of a copy. Its header keeps programs away that would look for packs in it."""

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

    @property
    def place(self) -> str:
        """The store's URL."""
        return self._bucket.url

    def exists(self) -> bool:
        """Say whether a store is there."""
        return self._is_there

    def require(self) -> None:
        """Check that a store is there; see `Home.require`."""
        if not self._is_there:
            raise StoreError(f"no feature store at {self._bucket.url} (no store.json there)")

    def open_index(self, digest: str, is_replayed: bool = False) -> NamespaceIndex | None:
        """Return the index of a signature's features; see `Home.open_index`."""
        namespace = self.folder.namespace(digest)
        signature = self._bucket.get(self._name(namespace.signature_file))
        if signature is None:
            return None
        try:
            for path in (namespace.tmp, namespace.packs, namespace.log, namespace.snapshots):
                make_folder(path)
            if not namespace.signature_file.exists():
                replace(signature, namespace.signature_file, namespace.tmp)
        except OSError as error:
            raise explain(error, "making", namespace.folder) from error
        make = NamespaceIndex.replayed if is_replayed else NamespaceIndex
        return make(
            namespace,
            is_writer=not self.read_only,
            log=ObjectLog(namespace, self.folder.root, self._bucket),
            storage=ObjectStorage(namespace, self.folder.root, self._bucket),
        )

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
        return [name for name in self._bucket.folders("ns") if DIGEST.fullmatch(name)]

    def _find_header(self) -> bool:
        header = self._bucket.get(self.folder.header.name)
        if header is not None:
            check_header(header, Path(self._bucket.url) / self.folder.header.name)
        return header is not None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder.root).as_posix()
