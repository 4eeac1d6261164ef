"""The log of a namespace in object storage, with a copy of its records on a local disk.

Records never change, so one that has been read once is read from the copy. A record is committed by
a conditional write to the next number: it fails when another writer was faster.
"""

import time
from pathlib import Path

from encodeonce.cache_store.durable import explain, make_folder, replace
from encodeonce.cache_store.layout import Namespace
from encodeonce.cache_store.log import (
    STALE_NAME_S,
    DamagedRecord,
    Log,
    Record,
    encode_record,
)
from encodeonce.cache_store.objects.bucket import Bucket
from encodeonce.cache_store.store import StoreError

FETCHED_AT_ONCE = 256


class ObjectLog(Log):
    """Reads and appends records of one namespace in object storage."""

    def __init__(self, namespace: Namespace, root: Path, bucket: Bucket) -> None:
        """Open the log, and fetch the records that the copy lacks.

        The copies of records that are damaged are fetched again when they are read.

        Args:
            namespace: of the copy.
            root: folder of the copy; names of objects are paths relative to it.
            bucket: the store.

        Raises:
            StoreError: the records cannot be listed or read.
        """
        super().__init__(namespace)
        self._root = root
        self._bucket = bucket
        names = bucket.names(self._name(namespace.log))
        missing = [name for name in names if not (root / name).exists()]
        for start in range(0, len(missing), FETCHED_AT_ONCE):
            for name, data in bucket.get_all(missing[start : start + FETCHED_AT_ONCE]).items():
                self._copy(root / name, data)

    def read(self, seq: int) -> Record | None:
        """Return record ``seq``, or None when the log ends before it; see `Log.read`."""
        try:
            record = super().read(seq)
        except DamagedRecord:  # perhaps of the copy alone
            record = None
        if record is not None:
            return record
        path = self._namespace.record(seq)
        data = self._bucket.get(self._name(path))
        if data is None:
            return None
        self._copy(path, data)
        return super().read(seq)

    def append(self, record: Record, seq: int) -> bool:
        """Commit ``record`` as number ``seq``; False when another record has that number."""
        path, data = self._namespace.record(seq), encode_record(record)
        is_first = self._bucket.create(self._name(path), data)
        if is_first:
            self._copy(path, data)
        return is_first

    def repair(self, seq: int, record: Record) -> None:
        """Replace a destroyed record, which is kept in quarantine; see `Log.repair`."""
        if self.append(record, seq) or self._is_whole(seq):
            return
        path, data = self._namespace.record(seq), encode_record(record)
        damaged = self._bucket.get(self._name(path)) or b""
        kept = self._namespace.quarantine / f"{path.name}.{time.time_ns()}"
        self._bucket.put(self._name(kept), damaged)
        self._bucket.put(self._name(path), data)
        self._copy(path, data)

    def last(self) -> int:
        """Return the highest number in use, by listing; 0 when there is none."""
        names = self._bucket.names(self._name(self._namespace.log))
        numbers = [Path(name).stem for name in names]
        return max((int(number) for number in numbers if number.isdigit()), default=0)

    def wait_for(self, seq: int) -> None:
        """Check that a record of another's can be read, as an object can once it is written.

        Raises:
            StoreError: it cannot: to go on would be to try for ever.
        """
        give_up_s = time.monotonic() + STALE_NAME_S
        while not self._is_there(seq):
            if time.monotonic() > give_up_s:
                where = f"{self._bucket.url}/{self._name(self._namespace.record(seq))}"
                raise StoreError(f"{where} exists for writing but not for reading")
            time.sleep(0.05)

    def _is_there(self, seq: int) -> bool:
        try:
            return self.read(seq) is not None
        except DamagedRecord:
            return True

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _copy(self, path: Path, data: bytes) -> None:
        try:
            make_folder(path.parent)
            make_folder(self._namespace.tmp)
            replace(data, path, self._namespace.tmp)
        except OSError as error:
            raise explain(error, "writing", path) from error
