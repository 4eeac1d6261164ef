"""Lossy codecs: they change numbers, so `Signature.codec` names them and no store chooses them.

A lossy codec turns one unit's array into *parts*, plain arrays that are then stored like any
other (see `encodeonce.cache_store.codec`). It sees one unit at a time: what is stored for a
unit cannot depend on the units that were put beside it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from encodeonce.cache_store.int8 import Int8

Array = np.ndarray[Any, np.dtype[Any]]

LOSSLESS = "lossless"
"""`Signature.codec` of features that are stored bit for bit."""


class LossyCodec(Protocol):
    """Turns a unit's array into parts and back, approximately."""

    @property
    def name(self) -> str:
        """The text in `Signature.codec`: scheme, parameters and version."""
        ...

    def split(self, unit: Array) -> dict[str, Array]:
        """Return the parts of one unit's array; the part named ``""`` is the main one."""
        ...

    def join(self, parts: Mapping[str, Array], out: Array) -> None:
        """Fill ``out`` (shape and dtype of the original) from its parts."""
        ...

    def approximate(self, unit: Array) -> Array:
        """Return what `join` gives back for ``unit``."""
        ...


def lossy_codecs() -> dict[str, LossyCodec]:
    """Return every lossy codec, by the short name that users type."""
    return {"int8": Int8()}


def find_lossy(codec: str) -> LossyCodec | None:
    """Return the codec that a `Signature.codec` names; None when nothing is lost.

    Raises:
        ValueError: no codec of this name is known.
    """
    if codec == LOSSLESS:
        return None
    known = {lossy.name: lossy for lossy in lossy_codecs().values()}
    if codec not in known:
        raise ValueError(
            f"signature codec {codec!r} is unknown; allowed: {LOSSLESS}, {', '.join(known)}"
        )
    return known[codec]
