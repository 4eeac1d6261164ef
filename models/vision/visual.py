"""Media items as the language side, or the whole model, gets them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from encodeonce.cache_store.features import Features
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames


class Unit(NamedTuple):
    """What the tower encodes on its own, and the frames of the media item that it is made of."""

    name: str
    frames: tuple[int, ...]


def num_frames(units: Sequence[Unit]) -> int:
    """Return how many different frames units are made of."""
    return len({frame for unit in units for frame in unit.frames})


@dataclass(frozen=True, slots=True, kw_only=True)
class Visual:
    """A media item as the language side gets it: its features, and what a prompt needs to know."""

    info: MediaInfo
    units: tuple[Unit, ...]
    features: Features
    """One row per unit, in the units' order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A media item as the whole model gets it."""

    info: MediaInfo
    units: tuple[Unit, ...]
    frames: Frames
    """The units' frames, each once, in order of time."""
