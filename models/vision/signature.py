"""The signature of features: what both kinds of families put into it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from encodeonce.cache_store.signature import Signature
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.models.spec import ModelSpec, VisionSpec


def sign(
    info: MediaInfo,
    recipe: Mapping[str, Any],
    *,
    tower: str,
    weights_sha256: str,
    tap: Mapping[str, Any],
    model: ModelSpec,
    vision: VisionSpec,
    numerics: Mapping[str, Any] = MappingProxyType({}),
) -> Signature:
    """Return what the features of a media's frames depend on.

    Args:
        info: the media's; its decoder is in the signature.
        recipe: how its frames become pixels, as `Preprocessing.recipe` gives it.
        tower: name of the tower's architecture.
        weights_sha256: of the weights that the features depend on.
        tap: where in the tower they are taken.
        model: its precision and attention.
        vision: its tap and micro-batch.
        numerics: what else decides how the tower rounds.
    """
    return Signature(
        tower=tower,
        weights_sha256=weights_sha256,
        tap={"at": vision.tap, **tap},
        preprocess=recipe,
        decoder=info.decoder,
        dtype=model.dtype,
        numerics={
            "attention": model.attention,
            "micro_batch": vision.micro_batch,
            **numerics,
        },
    )
