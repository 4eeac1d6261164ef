"""A place in object storage, through fsspec: whole objects, ranges of them, and conditional writes.

A write that fails where there is an object already is what commits rest on, in place of hard links:
S3's and Google's preconditions (``If-None-Match: *``, ``ifGenerationMatch=0``).
"""

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from encodeonce.cache_store.durable import explain
from encodeonce.cache_store.storage import Stored
from encodeonce.cache_store.store import StoreError, StoreNotWritable

PROTOCOLS: Mapping[str, str] = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "memory": "fsspec"}
"""What writes conditionally, with the package that it needs. ``memory`` forgets with the process:
it is for tests."""

TIMES = ("LastModified", "mtime", "created")
"""What s3fs, gcsfs and fsspec's memory call the time when an object was written."""

Result = TypeVar("Result")


class Bucket:
    """The objects whose names begin with a URL. Threads may share it.

    Args:
        url: ``s3://bucket/prefix`` or ``gs://bucket/prefix``.

    Raises:
        StoreError: it cannot be reached that way.
    """

    def __init__(self, url: str) -> None:
        protocol, _, rest = url.partition("://")
        if protocol not in PROTOCOLS or not rest.strip("/"):
            raise StoreError(
                f"{url!r} is no place in object storage; write s3://BUCKET/PREFIX or "
                "gs://BUCKET/PREFIX"
            )
        import fsspec  # its backends are imported only where they are used

        self.url = url.rstrip("/")
        try:
            # No listings are kept: by one of them, what others have written since is not there.
            options = {"use_listings_cache": False}
            self._fs, self._root = fsspec.core.url_to_fs(self.url, **options)
        except ImportError as error:
            package = PROTOCOLS[protocol]
            raise StoreError(f"{url} needs {package}: pip install {package}") from error

    def get(self, name: str) -> bytes | None:
        """Return an object; None if there is none.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            data: bytes = self._try("reading", name, lambda path: self._fs.cat_file(path))
        except FileNotFoundError:
            return None
        return data

    def get_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return several objects, fetched at the same time.

        Raises:
            StoreError: one cannot be read.
        """
        if not names:
            return {}
        paths = {f"{self._root}/{name}": name for name in names}
        found = self._try("reading", names[0], lambda _: self._fs.cat(list(paths)))
        return {paths[path]: data for path, data in found.items()}

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of an object, each from its first byte up to before its last.

        Raises:
            FileNotFoundError: there is no such object.
            StoreError: it cannot be read.
        """
        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        found: list[bytes] = self._try(
            "reading",
            name,
            lambda path: self._fs.cat_ranges(
                [path] * len(ranges), starts, ends, max_gap=None, on_error="raise"
            ),
        )
        return found

    def find(self, name: str) -> Stored | None:
        """Return the size and the time of an object; None if there is none.

        Raises:
            StoreError: that cannot be known.
        """
        try:
            found = self._try("reading", name, lambda path: self._fs.info(path))
        except FileNotFoundError:
            return None
        return _stored(found) if found["type"] == "file" else None

    def create(self, name: str, data: bytes) -> bool:
        """Make an object unless there is one; say whether this call made it.

        Raises:
            StoreNotWritable: it cannot be written.
        """
        try:
            self._try("writing", name, lambda path: self._fs.pipe_file(path, data, mode="create"))
        except FileExistsError:
            return False
        return True

    def put(self, name: str, data: bytes) -> None:
        """Make an object, in place of one of that name.

        Raises:
            StoreNotWritable: it cannot be written.
        """
        self._try("writing", name, lambda path: self._fs.pipe_file(path, data))

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Make several objects at the same time, in place of those of their names.

        Raises:
            StoreNotWritable: one cannot be written.
        """
        paths = {f"{self._root}/{name}": data for name, data in objects.items()}
        self._try("writing", next(iter(objects), ""), lambda _: self._fs.pipe(paths))

    def download(self, name: str, file: Path) -> None:
        """Copy an object to a file.

        Raises:
            FileNotFoundError: there is no such object.
            StoreError: it cannot be read.
        """
        self._try("reading", name, lambda path: self._fs.get_file(path, str(file)))

    def upload(self, file: Path, name: str) -> None:
        """Make an object of a file; there is none of that name.

        Raises:
            StoreNotWritable: it cannot be written.
        """
        self._try("writing", name, lambda path: self._fs.put_file(str(file), path))

    def remove(self, name: str) -> None:
        """Remove an object, if it is there.

        Raises:
            StoreNotWritable: that is not allowed.
        """
        try:
            self._try("removing", name, lambda path: self._fs.rm_file(path))
        except FileNotFoundError:
            return

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right under a folder, in order.

        Raises:
            StoreError: they cannot be listed.
        """
        try:
            found = self._try("listing", prefix, lambda path: self._fs.ls(path, detail=True))
        except FileNotFoundError:
            return []
        paths = [str(one["name"]).rstrip("/") for one in found if one["type"] == "directory"]
        return sorted(path.rpartition("/")[2] for path in paths)

    def names(self, prefix: str) -> list[str]:
        """Return the names of all objects under a folder, in order.

        Raises:
            StoreError: they cannot be listed.
        """
        return list(self.listing(prefix))

    def listing(self, prefix: str) -> dict[str, Stored]:
        """Return the sizes and times of all objects under a folder, by name, in order.

        Raises:
            StoreError: they cannot be listed.
        """
        try:
            found = self._try("listing", prefix, lambda path: self._fs.find(path, detail=True))
        except FileNotFoundError:
            return {}
        named = {str(path).removeprefix(f"{self._root}/"): one for path, one in found.items()}
        return {name: _stored(named[name]) for name in sorted(named)}

    def _try(self, doing: str, name: str, act: Callable[[str], Result]) -> Result:
        where = Path(f"{self._root}/{name}")
        try:
            return act(f"{self._root}/{name}")
        except FileExistsError:
            raise
        except FileNotFoundError as error:
            if doing == "writing":
                raise StoreNotWritable(f"writing {self.url}/{name}: {error}") from error
            raise
        except OSError as error:
            if error.errno is None:  # what the network library raises: it may pass
                error = OSError(errno.EIO, str(error))
            raise explain(error, doing, where) from error
        except Exception as error:  # credentials, the region: the client library's own kinds
            kind = StoreError if doing in ("reading", "listing") else StoreNotWritable
            raise kind(f"{doing} {self.url}/{name}: {type(error).__name__}: {error}") from error


def _stored(info: Mapping[str, Any]) -> Stored:
    found = next((info[name] for name in TIMES if info.get(name) is not None), 0.0)
    return Stored(int(info["size"]), found if isinstance(found, float) else found.timestamp())
