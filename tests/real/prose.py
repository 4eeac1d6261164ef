"""English prose from an installed package, and prompts with codes hidden in it.

The prose is 300 articles of Australian news, the Lee background corpus, which gensim ships as test
data. gensim itself is not imported.
"""

import random
import re
from collections.abc import Iterator, Sequence
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
    """Return prompts of about ``num_tokens`` tokens before the question; no two share prose."""
    rng = random.Random(seed)
    sentences = (sentence for text in articles() for sentence in _FULL_STOP.split(text))
    return [_prompt(decoder, rng, sentences, num_tokens) for _ in range(count)]


def _prompt(decoder: Any, rng: random.Random, sentences: Iterator[str], num_tokens: int) -> Hidden:
    names = [f"{c} {t}" for c, t in zip(_some(rng, COLOURS), _some(rng, THINGS), strict=True)]
    codes = ["".join(rng.choices("0123456789", k=NUM_DIGITS)) for _ in names]
    facts = [f"The code of the {n} is {c}." for n, c in zip(names, codes, strict=True)]
    left = num_tokens - len(decoder._open([" ".join(facts)]).token_ids)
    taken: list[str] = []
    while (cost := len(decoder.ids(" " + (sentence := next(sentences))))) <= left:
        taken.append(sentence)
        left -= cost
    # Never before the first or behind the last sentence, where sinks and windows are.
    places = sorted(rng.choices(range(1, len(taken)), k=NUM_CODES), reverse=True)
    for place, fact in zip(places, facts, strict=True):
        taken.insert(place, fact)
    asked = rng.randrange(NUM_CODES)
    name = names[asked]
    return Hidden(
        text=" ".join(taken),
        question=f"What is the code of the {name}?{ANSWER}The code of the {name} is",
        answer=f" {codes[asked]}",
    )


def _some(rng: random.Random, words: Sequence[str]) -> list[str]:
    return rng.sample(words, NUM_CODES)
