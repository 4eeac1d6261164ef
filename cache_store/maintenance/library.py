"""The store for readers: what is in it, and the features of a media file.

Shapes: U units, P patches (or tokens) per unit, D width.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.maintenance.place import open_home
from encodeonce.cache_store.maintenance.stat import MediaListing, SignatureStat, ls, stat
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.store import StoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFeatures:
    """What is stored of one media item under one signature."""

    media: str
    """SHA-256 of the media file's bytes, hexadecimal."""
    signature: str
    """Digest of what the features depend on besides the file: `FeatureStore.signatures`."""
    units: tuple[str, ...]
    """What was encoded on its own, in the order of the arrays' first axis: ``"frame:17"``."""
    arrays: Mapping[str, np.ndarray[Any, np.dtype[Any]]]
    """``main`` (U, P, D), and further ones where the model has them; float32, float16 or
    `ml_dtypes.bfloat16`, as the tower computed them."""


class FeatureStore:
    """A store opened for reading; use as a context manager, or `close` it.

    Jobs may write to it meanwhile.
    """

    def __init__(self, path: Path | str, copies: Path | None = None) -> None:
        """Open a store.

        Args:
            path: a run file's ``cache.path``, or the folder ``features`` in it; or the URL of a
                store in object storage.
            copies: for a URL, folder of the log's copy: the ``cache.path`` of runs there.
                ``~/.cache/encodeonce`` unless it is given.

        Raises:
            StoreError: there is no store.
        """
        self._home = open_home(path, copies)
        self._home.require()
        self._store = Hdf5Store(self._home.folder.root, home=self._home)

    def signatures(self) -> list[SignatureStat]:
        """Return what the store holds by signature: tower, preprocessing, decoder, precision."""
        return stat(self._home)

    def media(self, signature: str = "") -> list[MediaListing]:
        """Return the stored media, once for each signature that begins with what is given."""
        return list(ls(self._home, signature))

    def get(
        self, media: Path | str, signature: str = "", units: Sequence[str] | None = None
    ) -> MediaFeatures:
        """Return the features of a media item.

        Args:
            media: the file, or the SHA-256 of its bytes, of which 8 digits are enough.
            signature: beginning of the digest, where several signatures have the item.
            units: those to return, in this order; all if None, by number.

        Raises:
            StoreError: the item is not stored, or under several signatures; or bytes are damaged.
        """
        wanted = _digest(media)
        found: dict[tuple[str, str], list[str]] = {}
        for one in ls(self._home, signature, wanted):
            found.setdefault((one.media, one.signature), []).extend(one.units)
        if len(found) != 1:
            raise StoreError(_refusal(str(media), signature, list(found)))
        ((digest, under), names) = next(iter(found.items()))
        chosen = tuple(sorted(names, key=_by_number) if units is None else units)
        features = self._store.get([FeatureKey(digest, under, unit) for unit in chosen])
        return MediaFeatures(media=digest, signature=under, units=chosen, arrays=features.arrays)

    def close(self) -> None:
        """Close the store's files."""
        self._store.close()

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _digest(media: Path | str) -> str:
    if isinstance(media, str) and re.fullmatch(r"[0-9a-f]{8,64}", media):
        return media
    try:
        with Path(media).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(
            f"{media} cannot be read ({error.strerror}); give a media file, or the SHA-256 of its "
            "bytes, hexadecimal"
        ) from error


def _refusal(media: str, signature: str, found: Sequence[tuple[str, str]]) -> str:
    if not found:
        under = f" under the signature {signature!r}" if signature else ""
        return (
            f"{media} is not in the store{under}; `media()` lists what is, `encodeonce precompute` "
            "encodes it"
        )
    if len({digest for digest, _ in found}) > 1:
        return f"{media!r} is the beginning of several media's digests; give more of its digits"
    listed = ", ".join(under[:12] for _, under in found)
    return f"{media} is stored under {len(found)} signatures; give one of: signature={listed}"


def _by_number(unit: str) -> tuple[int | str, ...]:
    """Order ``frame:9`` before ``frame:17``."""
    parts = re.split(r"(\d+)", unit)
    return tuple(int(part) if part.isdigit() else part for part in parts)
