"""Where the files of a store are: on a file system that all its users see, or further away."""

from collections.abc import Sequence
from pathlib import Path

from encodeonce.cache_store.index import NamespaceIndex
from encodeonce.cache_store.layout import StoreFolder
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

    @property
    def place(self) -> str:
        """Where the store is: a folder or a URL, for people."""
        return str(self.folder.root)

    def exists(self) -> bool:
        """Say whether a store is there.

        Raises:
            StoreError: there is one, in a format that this program does not read.
        """
        return self.folder.exists()

    def require(self) -> None:
        """Check that a store is there.

        Raises:
            StoreError: there is none, or it is in an unknown format.
        """
        self.folder.require()

    def open_index(self, digest: str, is_replayed: bool = False) -> NamespaceIndex | None:
        """Return the index of a signature's features; None while there are none.

        Args:
            digest: of the signature.
            is_replayed: make it from every record of the log, without a snapshot.

        Raises:
            StoreError: the log cannot be read.
        """
        namespace = self.folder.namespace(digest)
        if not namespace.log.is_dir():
            return None
        make = NamespaceIndex.replayed if is_replayed else NamespaceIndex
        return make(namespace, is_writer=not self.read_only)

    def indexes(self, signature: str = "", is_replayed: bool = False) -> list[NamespaceIndex]:
        """Return the indexes of the signatures whose digests begin with what is given.

        Raises:
            StoreError: a log cannot be read.
        """
        digests = [digest for digest in self.signatures() if digest.startswith(signature)]
        found = (self.open_index(digest, is_replayed) for digest in digests)
        return [index for index in found if index is not None]

    def create_namespace(self, signature: Signature) -> None:
        """Make a place for a signature's features unless there is one.

        Raises:
            StoreError: the store cannot be written.
        """
        self.folder.create_namespace(signature)

    def signatures(self) -> Sequence[str]:
        """Return the digests of the signatures that have features.

        Raises:
            StoreError: they cannot be listed.
        """
        return [namespace.digest for namespace in self.folder.namespaces()]
