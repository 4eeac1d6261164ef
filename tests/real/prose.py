"""English prose from an installed package, and prompts with codes hidden in it.

The prose is 300 articles of Australian news, the Lee background corpus, which gensim ships as test
data. gensim itself is not imported.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.real.smollm2 import ANSWER, package_folder

COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "grey", "orange", "purple")
THINGS = ("door", "box", "car", "boat", "gate", "room", "bag", "tent", "van", "chest", "lamp")
NUM_CODES, NUM_DIGITS = 6, 4
_FULL_STOP = re.compile(r'(?<=[a-z0-9][.!?])\s+(?=[A-Z"])')


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """A prompt: prose with codes in it, and the question for one of them."""

    text: str
    question: str
    """With the beginning of the answer."""
    answer: str
    """The code, which continues the question."""


def articles() -> list[str]:
    """Return the corpus's articles; skips where gensim is not installed."""
    path = package_folder("gensim") / "test" / "test_data" / "lee_background.cor"
    lines = path.read_text(encoding="utf-8").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


def prompts(decoder: Any, count: int, num_tokens: int, seed: int = 0) -> list[Hidden]:
    """Return prompts of about ``num_tokens`` tokens before the question; no two share prose.

    Raises:
        ValueError: the corpus is too small for them, or the prompts are too short for codes.
    """
    rng = random.Random(seed)
    sentences = (sentence for text in articles() for sentence in _FULL_STOP.split(text))
    found: list[Hidden] = []
    for _ in range(count):
        facts = _facts(rng)
        left = num_tokens - len(decoder._open([" ".join(facts.values())]).token_ids)
        taken = _taken(decoder, sentences, left)
        if taken is None:
            raise ValueError(
                f"the corpus has prose for {len(found)} prompts of {num_tokens} tokens, not {count}"
            )
        if len(taken) < 2:
            raise ValueError(
                f"{num_tokens} tokens do not hold {NUM_CODES} codes and sentences between them; "
                "take 256 or more"
            )
        found.append(_prompt(rng, facts, taken))
    return found


def _facts(rng: random.Random) -> dict[tuple[str, str], str]:
    """Return sentences that give codes, by name and code."""
    things = zip(rng.sample(COLOURS, NUM_CODES), rng.sample(THINGS, NUM_CODES), strict=True)
    codes = ["".join(rng.choices("0123456789", k=NUM_DIGITS)) for _ in range(NUM_CODES)]
    names = [f"{colour} {thing}" for colour, thing in things]
    return {
        (name, code): f"The code of the {name} is {code}."
        for name, code in zip(names, codes, strict=True)
    }


def _taken(decoder: Any, sentences: Iterator[str], left: int) -> list[str] | None:
    """Return the next sentences that fit into ``left`` tokens; None where the corpus ends."""
    taken: list[str] = []
    for sentence in sentences:
        left -= len(decoder.ids(" " + sentence))
        if left < 0:
            return taken
        taken.append(sentence)
    return None


def _prompt(rng: random.Random, facts: Mapping[tuple[str, str], str], taken: list[str]) -> Hidden:
    # Never before the first or behind the last sentence, where sinks and windows are.
    places = sorted(rng.choices(range(1, len(taken)), k=NUM_CODES), reverse=True)
    for place, fact in zip(places, facts.values(), strict=True):
        taken.insert(place, fact)
    name, code = rng.choice(list(facts))
    return Hidden(
        text=" ".join(taken),
        question=f"What is the code of the {name}?{ANSWER}The code of the {name} is",
        answer=f" {code}",
    )
