"""The vision side of a checkpoint: known without its weights, and loaded.

Shapes: U units, P patches, D width of the tap, B micro-batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.signature import Signature
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames
from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.checkpoint.rows import mixes_rows
from encodeonce.models.checkpoint.tensors import to_array
from encodeonce.models.spec import ModelSpec, VisionSpec
from encodeonce.models.vision.micro_batch import MicroBatch
from encodeonce.models.vision.preprocessing import Preprocessing
from encodeonce.models.vision.signature import TowerIdentity, sign
from encodeonce.models.vision.visual import Unit


class LoadedTower:
    """A loaded tower."""

    def __init__(
        self,
        model: Any,
        encode: Callable[[Any, torch.Tensor], Mapping[str, torch.Tensor]],
        preprocessing: Preprocessing,
        micro_batch: int,
    ) -> None:
        """Take a model, and how it encodes (B, ...) pixels to named arrays (B, ...).

        Raises:
            CheckpointError: what is encoded together would not be encoded as each alone.
        """
        if micro_batch > 1 and mixes_rows(model):
            raise CheckpointError(
                f"vision.micro_batch {micro_batch}: this tower's int8 weights look for outliers "
                "over a whole batch, so a unit's features would depend on the units beside it. "
                "Set vision.micro_batch: 1."
            )
        self._model = model
        self._encode = MicroBatch(partial(encode, model), micro_batch)
        self._preprocessing = preprocessing

    def preprocess(self, frames: Frames, signature: Signature) -> torch.Tensor:
        """Return (U, ...) float32 pixels, resized and normalised."""
        return self._preprocessing.pixels(frames, signature.preprocess)

    def encode(self, pixels: torch.Tensor) -> Features:
        """Encode (U, ...) pixels; features ``main`` are (U, P, D), or (U, tiles, P, D)."""
        with torch.inference_mode():
            arrays = self._encode(pixels)
        return Features({name: to_array(array) for name, array in arrays.items()})


@dataclass(frozen=True, kw_only=True)
class VisionSide(ABC):
    """The vision side of a checkpoint, without its weights in memory."""

    folder: Path
    model_spec: ModelSpec
    vision_spec: VisionSpec

    @abstractmethod
    def load(self) -> LoadedTower:
        """Load the tower."""

    @abstractmethod
    def _preprocess(self) -> Preprocessing:
        """Return how the checkpoint's media become pixels; asked once."""

    @abstractmethod
    def _identify(self) -> TowerIdentity:
        """Return what features depend on; asked once, since it digests weights."""

    @abstractmethod
    def encode(self, model: Any, pixels_B: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Encode (B, ...) pixels to named arrays (B, ...) with the loaded model."""

    def signature(self, info: MediaInfo, frames: Sequence[int]) -> Signature:
        """Return what the features of some frames depend on."""
        recipe = self._preprocessing.recipe(info, len(frames))
        return sign(info, recipe, self._identity, self.model_spec, self.vision_spec)

    def units(self, info: MediaInfo, frames: Sequence[int]) -> tuple[Unit, ...]:
        """Return what the tower encodes on its own."""
        return self._preprocessing.units(info, frames)

    def loaded(self, model: Any) -> LoadedTower:
        """Return a tower that encodes in micro-batches."""
        size = self.vision_spec.micro_batch
        return LoadedTower(model, self.encode, self._preprocessing, size)

    @cached_property
    def _preprocessing(self) -> Preprocessing:
        return self._preprocess()

    @cached_property
    def _identity(self) -> TowerIdentity:
        return self._identify()
