"""The signature of features: the media's frames, the tower that encoded them, and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from encodeonce.cache_store.signature import Signature
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.models.spec import ModelSpec, VisionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerIdentity:
    """What tells a tower and its tap from all others."""

    name: str
    """Of the tower's architecture."""
    weights_sha256: str
    """Digest of the weights that the features depend on."""
    tap: Mapping[str, Any]
    """Where in the tower they are taken."""
    numerics: Mapping[str, Any] = field(default_factory=dict)
    """What decides how the tower rounds, beside attention and micro-batch."""


def sign(
    info: MediaInfo,
    recipe: Mapping[str, Any],
    tower: TowerIdentity,
    model: ModelSpec,
    vision: VisionSpec,
) -> Signature:
    """Return what the features of a media item's frames depend on.

    Args:
        info: the media item's; its video backend is in the signature.
        recipe: how its frames become pixels, as `Preprocessing.recipe` gives it.
        tower: what encodes them.
        model: precision and attention.
        vision: tap and micro-batch.
    """
    return Signature(
        tower=tower.name,
        weights_sha256=tower.weights_sha256,
        tap={"at": vision.tap, **tower.tap},
        preprocess=recipe,
        decoder=info.decoder,
        dtype=model.dtype,
        numerics={
            "attention": model.attention,
            "micro_batch": vision.micro_batch,
            **tower.numerics,
        },
    )
