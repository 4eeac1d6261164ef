"""Find the files that a benchmark's media paths name, and digest their content."""

from pathlib import Path, PurePath

from encodeonce.datasets.media.digest import FileChanged, file_sha256
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import (
    Media,
    MediaOutsideRoot,
    MediaRef,
    MissingMedia,
    UndecodableMedia,
)


class MediaLibrary:
    """The media files under one root."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        """Look for files under ``root``, which may itself be a link; ``ledger`` keeps digests."""
        self._root = root.resolve()
        self._ledger = ledger

    def resolve(self, ref: MediaRef) -> Media:
        """Return the file that ``ref`` names, with its digest.

        Raises:
            MediaOutsideRoot: the path is absolute, contains ``..``, or follows a link that leaves
                the root.
            MissingMedia: there is no regular file of that name.
            UndecodableMedia: the file cannot be read, or changes while it is read.
        """
        path = self._locate(ref.path)
        return Media(kind=ref.kind, uri=str(path), sha256=self._sha256(path), clip_s=ref.clip_s)

    def _locate(self, name: str) -> Path:
        parts = PurePath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise MediaOutsideRoot(
                f"{name!r}: media paths are relative to the media root {self._root} and contain "
                f"no '..'"
            )
        try:
            path = (self._root / parts).resolve(strict=True)
            is_file = path.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # absent; a loop of links; "\0"
            raise MissingMedia(
                f"{name!r} is not in the media root {self._root}: {error}"
            ) from error
        if not path.is_relative_to(self._root):
            raise MediaOutsideRoot(
                f"{name!r} is a link to {path}, outside the media root {self._root}; use a media "
                f"root that holds both"
            )
        if not is_file:
            raise MissingMedia(f"{name!r} in the media root {self._root} is not a regular file")
        return path

    def _sha256(self, path: Path) -> str:
        try:
            return file_sha256(path, self._ledger)
        except FileChanged as error:
            raise UndecodableMedia(str(error)) from error
        except OSError as error:
            raise UndecodableMedia(f"{path} cannot be read: {error}") from error
