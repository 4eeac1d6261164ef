"""What needles say, and what is asked about them."""

import random
from collections.abc import Sequence
from typing import Literal

Kind = Literal["text", "number", "digit"]

NUM_CHOICES = 4

WORDS = (
    *("anchor", "basket", "bridge", "candle", "castle", "desert", "dragon", "feather", "forest"),
    *("garden", "hammer", "island", "jacket", "kettle", "ladder", "lemon", "magnet", "marble"),
    *("meadow", "mirror", "orchid", "paddle", "pepper", "pillow", "planet", "pocket", "rabbit"),
    *("ribbon", "rocket", "saddle", "spider", "temple", "tunnel", "velvet", "violin", "walnut"),
)
"""Words of one spelling, none of them a part of another, a number or the name of a colour."""

_NOUNS = {"text": "word", "number": "number", "digit": "digit"}


def draw_values(rng: random.Random, kind: Kind, count: int) -> list[str]:
    """Draw different values for the needles of a clip.

    Args:
        rng: source of randomness.
        kind: ``"text"``: a word; ``"number"``: four digits; ``"digit"``: one.
        count: at most 10, which is how many digits there are.
    """
    return rng.sample(_pool(kind), count)


def draw_choices(
    rng: random.Random, kind: Kind, right: str, others: Sequence[str], position: int
) -> tuple[str, ...]:
    """Draw the options of a question.

    Args:
        rng: source of randomness.
        kind: of the values.
        right: the right option.
        others: what the clip's other needles say: they are wrong options first of all, lest it be
            enough to have read any needle.
        position: of the right option, counted from 0.
    """
    foreign = [value for value in _pool(kind) if value != right and value not in others]
    num_wrong = NUM_CHOICES - 1
    options = rng.sample(others, min(num_wrong, len(others)))
    options += rng.sample(foreign, num_wrong - len(options))
    options.insert(position, right)
    return tuple(options)


def ask(kind: Kind, colour: str) -> str:
    """Return the question about the label of a colour."""
    article = "an" if colour[0] in "aeiou" else "a"
    return (
        f"In one frame of the video, {article} {colour} label is pasted over the picture. "
        f"Which {_NOUNS[kind]} is written on it?"
    )


def _pool(kind: Kind) -> Sequence[str]:
    if kind == "text":
        return WORDS
    return [str(value) for value in (range(1000, 10000) if kind == "number" else range(10))]
