"""Where the files of a store are: on a file system that all its users see, or further away."""

from collections.abc import Sequence
from pathlib import Path

from encodeonce.cache_store.commit import remove
from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import StoreFolder
from encodeonce.cache_store.reading import PackFile
from encodeonce.cache_store.signature import Signature


class Home:
    """A store whose files are in a folder. `objects.home` keeps packs and log somewhere else.

    Args:
        root: folder of the store; made by the first `create_namespace`.
        read_only: whether nothing may be written into the store.

    Raises:
        StoreError: there is a store in an unknown format.
    """

    def __init__(self, root: Path, read_only: bool = False) -> None:
        self.folder = StoreFolder(root)
        self.read_only = read_only
        self.folder.exists()

    def open_index(self, digest: str) -> NamespaceIndex | None:
        """Return the index of a signature's features; None while there are none."""
        namespace = self.folder.namespace(digest)
        if not namespace.log.is_dir():
            return None
        return NamespaceIndex(namespace, is_writer=not self.read_only)

    def create_namespace(self, signature: Signature) -> None:
        """Make a place for a signature's features unless there is one.

        Raises:
            StoreError: the store cannot be written.
        """
        self.folder.create_namespace(signature)

    def signatures(self) -> Sequence[str]:
        """Return the digests of the signatures that have features."""
        return [namespace.digest for namespace in self.folder.namespaces()]

    def open_pack(self, path: Path) -> PackFile:
        """Open a pack.

        Raises:
            OSError: it cannot be opened.
        """
        return PackFile(path)

    def publish(self, path: Path) -> None:
        """Bring a pack that was written to where all users of the store can read it.

        Raises:
            StoreError: it cannot be written.
        """

    def discard(self, path: Path) -> None:
        """Remove a pack that will not be committed."""
        remove(path)
