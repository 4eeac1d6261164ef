"""Ask about the digits of a clip: which at a moment, in what order, how often."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["moment", "order", "count"]
KINDS: tuple[Kind, ...] = ("moment", "order", "count")

NUM_SCENES = 8
NUM_CHOICES = 4
MAX_COUNT = 4
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, its options (none for a free answer) and what counts as the right answer."""

    kind: Kind
    text: str
    choices: tuple[str, ...]
    answer: str


def draw_digits(rng: np.random.Generator, repeated: int, times: int) -> list[int]:
    """Draw the digits of a clip, one per scene.

    Args:
        rng: Source of randomness.
        repeated: The digit that a count question will be about.
        times: How many scenes show it, 0 to `MAX_COUNT`.

    Returns:
        `NUM_SCENES` digits; at least three of them are shown once only, so that questions about
        order can name a scene by its digit.
    """
    others = [digit for digit in range(10) if digit != repeated]
    while True:
        filling = rng.choice(others, size=NUM_SCENES - times).tolist()
        digits: list[int] = rng.permutation([repeated] * times + filling).tolist()
        if sum(digits.count(digit) == 1 for digit in digits) >= 3:
            return digits


def ask_moment(rng: np.random.Generator, digits: Sequence[int]) -> tuple[str, int]:
    """Ask what a scene shows; returns the question's text and its answer."""
    scene = int(rng.integers(NUM_SCENES))
    wordings = (
        f"Which digit is shown in the {ORDINALS[scene]} scene?",
        f"What digit appears in scene {scene + 1}?",
    )
    return wordings[rng.integers(2)], digits[scene]


def ask_order(rng: np.random.Generator, digits: Sequence[int]) -> tuple[str, int]:
    """Ask what comes right before or after a digit, or first or last."""
    if rng.random() < 0.2:
        word, scene = (("first", 0), ("last", NUM_SCENES - 1))[rng.integers(2)]
        return f"Which digit is shown {word}?", digits[scene]
    known = [scene for scene in range(NUM_SCENES - 1) if digits.count(digits[scene]) == 1]
    scene = int(rng.choice(known))
    return f"Which digit is shown right after the {digits[scene]}?", digits[scene + 1]


def ask_count(rng: np.random.Generator, digits: Sequence[int], counted: int) -> tuple[str, int]:
    """Ask how often a digit is shown."""
    wordings = (
        f"How many times is the {counted} shown?",
        f"How many scenes show the {counted}?",
    )
    return wordings[rng.integers(2)], digits.count(counted)


def draw_choices(
    rng: np.random.Generator, kind: Kind, answer: int, digits: Sequence[int], position: int
) -> tuple[str, ...]:
    """Draw the options of a question, the right one at a given position.

    Wrong digits are taken from the clip itself where possible: knowing which digits occur must
    not be enough to answer.
    """
    if kind == "count":
        wrong = [value for value in range(MAX_COUNT + 2) if value != answer]
        chosen = rng.choice(wrong, size=NUM_CHOICES - 1, replace=False).tolist()
    else:
        present = sorted(set(digits) - {answer})
        absent = [digit for digit in range(10) if digit not in digits and digit != answer]
        ranked = rng.permutation(present).tolist() + rng.permutation(absent).tolist()
        chosen = ranked[: NUM_CHOICES - 1]
    chosen.insert(position, answer)
    return tuple(str(option) for option in chosen)


def draw_question(
    rng: np.random.Generator,
    kind: Kind,
    digits: Sequence[int],
    counted: int,
    position: int | None,
) -> Question:
    """Draw a whole question.

    Args:
        rng: Source of randomness.
        kind: What the question is about.
        digits: What the clip shows, scene by scene.
        counted: The digit that a count question is about.
        position: Where the right option stands, counted from 0; None for a free answer.
    """
    if kind == "count":
        text, answer = ask_count(rng, digits, counted)
    else:
        ask = ask_moment if kind == "moment" else ask_order
        text, answer = ask(rng, digits)
    if position is None:
        return Question(kind=kind, text=text, choices=(), answer=str(answer))
    choices = draw_choices(rng, kind, answer, digits, position)
    letter = string.ascii_uppercase[position]
    return Question(kind=kind, text=text, choices=choices, answer=letter)
