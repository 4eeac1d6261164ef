"""What a clip shows: digits at places of a grid, scene by scene, and three coloured tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_SCENES = 8
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")

ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
NUM_PLACES = len(ROWS) * len(COLUMNS)
COLORS = ("red", "green", "blue")

NUM_DIGITS = 10
MAX_DIGITS_PER_SCENE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A coloured square behind one of a scene's digits."""

    color: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What one scene shows.

    Attributes:
        digits: The digit at each occupied place, in reading order; all different. Places count
            the grid's cells from the top left, row by row.
        tile: The scene's coloured tile, if it has one.
    """

    digits: dict[int, int]
    tile: Tile | None


def name_of_place(place: int) -> str:
    """Return a place in words, ``"top left"``."""
    row, column = divmod(place, len(COLUMNS))
    return f"{ROWS[row]} {COLUMNS[column]}"


def draw_contents(rng: np.random.Generator, color: str | None) -> Contents:
    """Draw what a scene shows: one to four digits, all numbers equally likely.

    Args:
        rng: Source of randomness.
        color: Colour of the scene's tile; None for a scene without.
    """
    num_digits = int(rng.integers(1, MAX_DIGITS_PER_SCENE + 1))
    places = np.sort(rng.choice(NUM_PLACES, num_digits, replace=False))
    digits = rng.choice(NUM_DIGITS, num_digits, replace=False)
    tile = None if color is None else Tile(color=color, place=int(rng.choice(places)))
    return Contents(
        digits={int(place): int(digit) for place, digit in zip(places, digits, strict=True)},
        tile=tile,
    )


def draw_colors(rng: np.random.Generator) -> list[str | None]:
    """Draw in which scene of a clip each tile is: every colour once, in scenes of their own."""
    colors: list[str | None] = [*COLORS, *[None] * (NUM_SCENES - len(COLORS))]
    return [colors[i] for i in rng.permutation(NUM_SCENES)]


def track(scenes: Sequence[Contents], place: int) -> list[int]:
    """Return the digits that a place shows, scene after scene; scenes without one are left out."""
    return [scene.digits[place] for scene in scenes if place in scene.digits]
