"""Name everything that a stored feature depends on, and address it by that."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

SCHEMA = 1
"""Bumped when our own code starts to compute other bytes from the same inputs."""


def canonical_json(value: Any) -> str:
    """Return the only JSON text of ``value``: sorted keys, no spaces, ASCII, no NaN.

    Raises:
        ValueError: ``value`` holds something that JSON cannot express exactly (NaN, infinity, a key
            that is not a string, an object).
    """
    _refuse_inexact(value, path="$")
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _refuse_inexact(value: Any, path: str) -> None:
    """Refuse what ``json`` would quietly rewrite: keys that are not strings, foreign objects."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{path}: keys must be strings, got {key!r}")
            _refuse_inexact(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _refuse_inexact(item, f"{path}[{position}]")
    elif not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"{path}: {type(value).__name__} has no canonical JSON form: {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Everything that changes a stored byte, except the media item and the unit within it."""

    tower: str
    """Architecture of the vision tower, e.g. ``"clip_vision_model"``."""
    weights_sha256: str
    """Digest of the weights the tap depends on: a tuned tower is another tower."""
    tap: Mapping[str, Any]
    """Where the features are taken: ``{"at": "tower", "layer": -2, "cls": "dropped"}``."""
    preprocess: Mapping[str, Any]
    """Resolved size, resampling filter, crop, mean, std: all that turns a frame into pixels."""
    decoder: str
    """What decoded the file into frames, with versions: ``"decord 0.6.0, FFmpeg 4.2"``."""
    dtype: str
    """dtype in which the tower computes and the store holds features, e.g. ``"bfloat16"``."""
    numerics: Mapping[str, Any] = field(default_factory=dict)
    """Choices that change rounding: attention kernel, size of the encoding micro-batch."""
    codec: str = "lossless"
    """``"lossless"``, or the name and parameters of the lossy codec."""
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, hexadecimal; equal in every process and hash seed."""
        return hashlib.sha256(canonical_json(self.to_dict()).encode("ascii")).hexdigest()


class FeatureKey(NamedTuple):
    """Address of one unit's features. Known before anything is decoded."""

    media: str
    """SHA-256 of the media file's bytes, hexadecimal."""
    signature: str
    """`Signature.digest`."""
    unit: str
    """What the tower encodes on its own: ``"frame:17"``, ``"frames:17+25"``, ``"image"``."""
