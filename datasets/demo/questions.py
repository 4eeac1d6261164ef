"""Ask about a clip: one digit by place and scene or by its tile, when, how many, and lists."""

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from encodeonce.datasets.demo.contents import (
    COLORS,
    MAX_DIGITS_PER_SCENE,
    NUM_DIGITS,
    NUM_PLACES,
    NUM_SCENES,
    ORDINALS,
    Contents,
    draw_colors,
    draw_contents,
    name_of_place,
    track,
)

Kind = Literal["place", "tile", "when", "count", "list", "track"]
KINDS: tuple[Kind, ...] = ("place", "tile", "when", "count", "list", "track")
# A list has no options: to compare four of them is a matter of its own.
LISTED_KINDS: tuple[Kind, ...] = ("list", "track")

Form = Literal["letter", "text", "free"]
"""How a question is answered: an option's letter, an option's text, or without options."""
FORMS: tuple[Form, ...] = ("letter", "text", "free")

NUM_CHOICES = 4
MIN_LISTED, MAX_LISTED = 2, 4


Cell = tuple[int, int]
"""A place of a scene: the scene's number and the place's, both from 0."""
Evidence = tuple[tuple[Cell, ...], ...]
"""The cells that show each part of an answer: one part, or one for each item of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, its options (none for a free answer) and what counts as the right answer.

    Attributes:
        kind: What it is about.
        text: The question alone.
        choices: The options' texts.
        answer: The right option's letter, or the free answer.
        evidence: Where the answer is to be seen, for each of its parts: cells of the clip.
    """

    kind: Kind
    text: str
    choices: tuple[str, ...]
    answer: str
    evidence: Evidence


def draw_question(
    rng: np.random.Generator, kind: Kind, scenes: Sequence[Contents], position: int | None
) -> Question:
    """Draw a whole question.

    Args:
        rng: Source of randomness.
        kind: What the question is about.
        scenes: What the clip shows.
        position: Where the right option stands, counted from 0; None for a free answer.

    Raises:
        ValueError: If options are asked for in a kind that has lists for answers.
    """
    asked = _ASK[kind](rng, scenes)
    text, answer, evidence = asked.text, asked.answer, asked.evidence
    if position is None:
        return Question(kind=kind, text=text, choices=(), answer=answer, evidence=evidence)
    if kind in LISTED_KINDS:
        raise ValueError(f"Questions of kind {kind!r} have no options; position must be None.")
    choices = _draw_choices(rng, answer, asked.likely, position)
    letter = string.ascii_uppercase[position]
    return Question(kind=kind, text=text, choices=choices, answer=letter, evidence=evidence)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, its answer, where that is seen, and wrong options: the most likely first."""

    text: str
    answer: str
    evidence: Evidence
    likely: tuple[list[str], ...] = ()


def _ask_place(rng: np.random.Generator, scenes: Sequence[Contents]) -> _Asked:
    """Ask for a digit by scene and place. Wrong: the scene's other digits, the place's others."""
    scene = int(rng.integers(NUM_SCENES))
    digits = scenes[scene].digits
    place = int(rng.choice(list(digits)))
    return _Asked(
        f"Which digit is at the {name_of_place(place)} in the {ORDINALS[scene]} scene?",
        str(digits[place]),
        (((scene, place),),),
        (_texts(digits.values()), _texts(track(scenes, place)), _texts(range(NUM_DIGITS))),
    )


def _ask_tile(rng: np.random.Generator, scenes: Sequence[Contents]) -> _Asked:
    """Ask for the digit on a tile. Wrong: digits on other tiles, the scene's other digits."""
    color = str(rng.choice(COLORS))
    scene, place = _find_tiles(scenes)[color]
    on_tiles = [scenes[n].digits[where] for n, where in _find_tiles(scenes).values()]
    digits = scenes[scene].digits
    return _Asked(
        f"Which digit is on the {color} tile?",
        str(digits[place]),
        (((scene, place),),),
        (_texts(on_tiles), _texts(digits.values()), _texts(range(NUM_DIGITS))),
    )


def _ask_when(rng: np.random.Generator, scenes: Sequence[Contents]) -> _Asked:
    """Ask in which scene a tile is. Wrong: the scenes with the other tiles, then any."""
    color = str(rng.choice(COLORS))
    tiles = _find_tiles(scenes)
    scene = tiles[color][0]
    return _Asked(
        f"Which scene has the {color} tile?",
        ORDINALS[scene],
        ((tiles[color],),),
        ([ORDINALS[n] for n, _ in tiles.values()], list(ORDINALS)),
    )


def _ask_count(rng: np.random.Generator, scenes: Sequence[Contents]) -> _Asked:
    """Ask how many digits a scene has, each number that occurs equally often."""
    by_count: dict[int, list[int]] = {}
    for n, contents in enumerate(scenes):
        by_count.setdefault(len(contents.digits), []).append(n)
    count = int(rng.choice(sorted(by_count)))
    scene = int(rng.choice(by_count[count]))
    return _Asked(
        f"How many digits are in the {ORDINALS[scene]} scene?",
        str(count),
        (tuple((scene, place) for place in scenes[scene].digits),),
        (_texts(range(1, MAX_DIGITS_PER_SCENE + 1)),),
    )


def _ask_list(rng: np.random.Generator, scenes: Sequence[Contents]) -> _Asked:
    """Ask for all digits of a scene that has several, in reading order."""
    several = [n for n, contents in enumerate(scenes) if len(contents.digits) >= MIN_LISTED]
    scene = int(rng.choice(several))
    digits = scenes[scene].digits
    return _Asked(
        f"List the digits in the {ORDINALS[scene]} scene.",
        " ".join(_texts(digits.values())),
        tuple(((scene, place),) for place in digits),
    )


def _ask_track(rng: np.random.Generator, scenes: Sequence[Contents]) -> _Asked:
    """Ask for all digits that a place shows, in the order of time."""
    tracks = {place: track(scenes, place) for place in range(NUM_PLACES)}
    several = [p for p in tracks if MIN_LISTED <= len(tracks[p]) <= MAX_LISTED]
    place = int(rng.choice(several))
    return _Asked(
        f"List the digits at the {name_of_place(place)} of all scenes.",
        " ".join(_texts(tracks[place])),
        tuple(((n, place),) for n, contents in enumerate(scenes) if place in contents.digits),
    )


def _find_tiles(scenes: Sequence[Contents]) -> dict[str, Cell]:
    """Return the cell of each colour's tile."""
    return {s.tile.color: (n, s.tile.place) for n, s in enumerate(scenes) if s.tile is not None}


_ASK = {
    "place": _ask_place,
    "tile": _ask_tile,
    "when": _ask_when,
    "count": _ask_count,
    "list": _ask_list,
    "track": _ask_track,
}


def is_askable(scenes: Sequence[Contents]) -> bool:
    """Say whether every kind of question can be asked about a clip."""
    lengths = [len(track(scenes, place)) for place in range(NUM_PLACES)]
    has_track = any(MIN_LISTED <= length <= MAX_LISTED for length in lengths)
    return has_track and any(len(scene.digits) >= MIN_LISTED for scene in scenes)


def draw_clip(rng: np.random.Generator) -> list[Contents]:
    """Draw what a clip shows, so that every kind of question can be asked about it."""
    while True:
        scenes = [draw_contents(rng, color) for color in draw_colors(rng)]
        if is_askable(scenes):
            return scenes


def _draw_choices(
    rng: np.random.Generator, answer: str, likely: Sequence[Sequence[str]], position: int
) -> tuple[str, ...]:
    """Draw the options, the right one at a given position.

    Wrong ones are what the clip shows elsewhere, where possible: knowing what occurs must not be
    enough to answer.
    """
    ranked = [option for group in likely for option in rng.permutation(list(group)).tolist()]
    wrong = [option for option in dict.fromkeys(ranked) if option != answer]
    chosen = rng.permutation(wrong[: NUM_CHOICES - 1]).tolist()
    chosen.insert(position, answer)
    return tuple(chosen)


def _texts(numbers: Iterable[int]) -> list[str]:
    return [str(number) for number in numbers]
