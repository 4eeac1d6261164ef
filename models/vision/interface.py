"""The interface of a model's vision side, of which `encodeonce.models.family` is the other half."""

from collections.abc import Sequence
from typing import Protocol

import torch

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.signature import Signature
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames
from encodeonce.models.vision.visual import Unit


class Tower(Protocol):
    """A loaded vision tower. Never loads the language model."""

    def preprocess(self, frames: Frames, signature: Signature) -> torch.Tensor:
        """Turn decoded frames into the tower's input, one row per unit; on the CPU, pure.

        Args:
            frames: the frames of some units, each once, in order of time.
            signature: of the media item, with the size that its frames are resized to.
        """
        ...

    def encode(self, pixels: torch.Tensor) -> Features:
        """Encode preprocessed units of one shape; a unit's features do not depend on the others."""
        ...


class Vision(Protocol):
    """Everything about a model's vision side that is known without loading weights."""

    def signature(self, info: MediaInfo, frames: Sequence[int]) -> Signature:
        """Return what the features of these frames depend on, besides media item and unit.

        Where a video has a pixel budget for all its frames, their number is part of it.
        """
        ...

    def units(self, info: MediaInfo, frames: Sequence[int]) -> tuple[Unit, ...]:
        """Return the units that the chosen frames make up, in the order the model reads them."""
        ...

    def load(self) -> Tower:
        """Load the tower's weights."""
        ...
