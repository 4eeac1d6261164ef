"""The features and placeholders of a media item, between the tower and the language model.

Shapes: U units, N visual tokens, D width of the language model, L deepstack levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from encodeonce.cache_store.features import MAIN
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import MediaKind
from encodeonce.models.vision.visual import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Projected:
    """A media item's features in the language model's width."""

    info: MediaInfo
    units: tuple[Unit, ...]
    recipe: Mapping[str, Any]
    """How its frames became pixels: `Preprocessing.recipe`."""
    arrays: Mapping[str, torch.Tensor]
    """As stored, (U, ...), with ``main`` gone through the projector."""

    @property
    def main(self) -> torch.Tensor:
        """(U, ..., D) features."""
        return self.arrays[MAIN]

    def times_s(self, unit: Unit) -> tuple[float, ...]:
        """Return the presentation times of a unit's frames, seconds."""
        return tuple(self.info.timestamps_s[frame] for frame in unit.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One placeholder of the prompt, and the features that take its place."""

    slot: MediaKind
    """The kind of part that the chat template writes."""
    text: str
    """The text that replaces the placeholder in the prompt."""
    modality: MediaKind
    """The kind of media token that the model replaces by features."""
    tokens: torch.Tensor
    """(N, D)."""
    levels: tuple[torch.Tensor, ...] = ()
    """(N, D) features that are added to later layers."""
    grid: tuple[int, int, int] = (0, 0, 0)
    """Temporal patches, rows and columns before merging; zeros where the model asks for none."""
    second_per_grid: float = 1.0
    """Time between temporal patches, seconds."""
