"""Packs in object storage, and the times that its server gives them.

Names of objects are the paths of the same files in a folder.
"""

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from encodeonce.cache_store.codec import DamagedChunk
from encodeonce.cache_store.durable import explain, make_folder, replace
from encodeonce.cache_store.layout import PACK_ID, Namespace
from encodeonce.cache_store.objects.bucket import Bucket
from encodeonce.cache_store.reading import Array, PackFile
from encodeonce.cache_store.storage import USED_EVERY_S, Storage, Stored
from encodeonce.cache_store.store import StoreError, StoreNotWritable

MAX_GAP_BYTES = 256 * 1024
"""Bytes that nobody asked for and that are fetched all the same, rather than asking twice."""

MAX_SPAN_BYTES = 32 * 2**20
"""Larger reads are several, at the same time."""


class ObjectPack(PackFile):
    """A pack in object storage, read by ranges; `ahead` fetches them, `read_into` only copies."""

    def __init__(self, bucket: Bucket, name: str, num_bytes: int) -> None:
        self._bucket = bucket
        self._name = name
        self._num_bytes = num_bytes
        self._fetched: list[tuple[int, bytes]] = []

    @property
    def num_bytes(self) -> int:
        """Size of the object."""
        return self._num_bytes

    def ahead(self, ranges: Sequence[tuple[int, int]]) -> PackFile:
        """Fetch ranges, neighbours together; return what to read them from.

        What lies beyond the object's end is not asked for: reading it then says so.
        """
        inside = [(start, min(end, self._num_bytes)) for start, end in ranges]
        spans = merged([(start, end) for start, end in inside if start < end])
        found = ObjectPack(self._bucket, self._name, self._num_bytes)
        parts = self._bucket.get_ranges(self._name, spans) if spans else []
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


class ObjectStorage(Storage):
    """The packs of one namespace in object storage.

    Args:
        namespace: of the copy on a local disk.
        root: folder of that copy; names of objects are paths relative to it.
        bucket: the store.
    """

    def __init__(self, namespace: Namespace, root: Path, bucket: Bucket) -> None:
        super().__init__(namespace)
        self._root = root
        self._bucket = bucket

    def where(self, pack: str) -> str:
        """Return a pack's URL."""
        return f"{self._bucket.url}/{self._name(self.namespace.pack(pack))}"

    def open(self, pack: str) -> PackFile:
        """Open a pack; see `Storage.open`."""
        name = self._name(self.namespace.pack(pack))
        found = self._bucket.find(name)
        if found is None:
            raise FileNotFoundError(name)
        return ObjectPack(self._bucket, name, found.num_bytes)

    @contextmanager
    def file(self, pack: str) -> Iterator[Path]:
        """Provide a whole pack as a local file that is removed afterwards."""
        path = self.namespace.tmp / f"{pack}.{uuid.uuid4().hex}.tmp"
        try:
            make_folder(path.parent)
            self._bucket.download(self._name(self.namespace.pack(pack)), path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def packs(self) -> dict[str, Stored]:
        """Return the packs that are there; see `Storage.packs`."""
        found = self._listing(self.namespace.packs)
        return {path.stem: one for path, one in found.items() if PACK_ID.fullmatch(path.stem)}

    def publish(self, pack: str) -> None:
        """Upload a pack, whole, and remove the local file."""
        path = self.namespace.pack(pack)
        try:
            self._bucket.upload(path, self._name(path))
        finally:
            path.unlink(missing_ok=True)

    def remove(self, pack: str) -> None:
        """Remove a pack and the note of its last use, if they are there."""
        for path in (self.namespace.pack(pack), self.namespace.used(pack)):
            self._bucket.remove(self._name(path))
        self.namespace.used(pack).unlink(missing_ok=True)

    def note_use(self, packs: Iterable[str]) -> None:
        """Note that packs are in use, unless a process on this machine has just done so."""
        due = [pack for pack in packs if self._is_due(self.namespace.used(pack))]
        super().note_use(due)  # first: where the server refuses, it is not asked at every read
        if due:
            self._bucket.put_all({self._name(self.namespace.used(pack)): b"" for pack in due})

    def last_uses(self, packs: Iterable[str]) -> dict[str, float]:
        """Return when packs were used last, by two listings; see `Storage.last_uses`."""
        wanted, found = set(packs), dict[str, float]()
        for folder in (self.namespace.packs, self.namespace.folder / "used"):
            for path, one in self._listing(folder).items():
                if path.stem in wanted:
                    found[path.stem] = max(found.get(path.stem, 0.0), one.written_s)
        return found

    def committed_s(self, seqs: Iterable[int]) -> dict[int, float]:
        """Return when records were committed, by one listing; see `Storage.committed_s`."""
        wanted = {self.namespace.record(seq): seq for seq in seqs}
        found = self._listing(self.namespace.log) if wanted else {}
        return {wanted[path]: one.written_s for path, one in found.items() if path in wanted}

    def now_s(self) -> float:
        """Return the server's time: that of an object just written."""
        name = self._name(self.namespace.folder / "clock")
        try:
            self._bucket.put(name, b"")
        except StoreNotWritable:
            return time.time()
        found = self._bucket.find(name)
        self._bucket.remove(name)
        return time.time() if found is None else found.written_s

    def read_signature(self) -> dict[str, object]:
        """Return the signature's fields, as they are in object storage now."""
        path = self.namespace.signature_file
        text = self._bucket.get(self._name(path))
        if text is None:
            raise StoreError(f"there is no {self._bucket.url}/{self._name(path)}")
        try:
            make_folder(self.namespace.tmp)
            replace(text, path, self.namespace.tmp)
        except OSError as error:
            raise explain(error, "writing", path) from error
        return super().read_signature()

    def restore_signature(self, text: bytes) -> None:
        """Replace a damaged signature; see `Storage.restore_signature`."""
        self._bucket.put(self._name(self.namespace.signature_file), text)
        super().restore_signature(text)

    def _listing(self, folder: Path) -> dict[Path, Stored]:
        found = self._bucket.listing(self._name(folder))
        return {self._root / name: one for name, one in found.items()}

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _is_due(self, note: Path) -> bool:
        try:
            return time.time() - note.stat().st_mtime >= USED_EVERY_S
        except OSError:
            return True


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
