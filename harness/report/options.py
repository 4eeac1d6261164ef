"""Names options by letter and text, whichever of the two a target or an answer says: "D: 6"."""

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase


def options_by_letter(choices: Sequence[str]) -> Mapping[str, str]:
    """Return each option as ``"D: 6"``, by its letter."""
    letters = zip(ascii_uppercase, choices, strict=False)
    return {letter: f"{letter}: {text}" for letter, text in letters}


def target_words(target: str, choices: Sequence[str]) -> str:
    """Return the right answer; with options, both letter and text."""
    return options_by_letter(choices).get(target, target)


def answer_words(text: str, extracted: str | None, choices: Sequence[str]) -> str:
    """Return a model's answer, with the option that it was read as.

    Args:
        text: what the model wrote.
        extracted: what was read out of it; with options, a letter.
        choices: texts of the options; empty for a free answer.

    >>> answer_words("6", "D", ["0", "3", "4", "6"])
    'D: 6'
    >>> answer_words("It was the last one, D", "D", ["0", "3", "4", "6"])
    'It was the last one, D (read as D: 6)'
    """
    options = options_by_letter(choices)
    if extracted is None or extracted not in options:
        return text
    option = options[extracted]
    says_no_more = _bare(text) in map(_bare, (extracted, option, option[len(extracted) + 2 :]))
    return option if says_no_more else f"{text} (read as {option})"


def _bare(text: str) -> str:
    """Return text without what people write around letters: ``"(D) 6."`` as ``"d 6"``."""
    return " ".join(re.sub(r"[\s()\[\].:,*\"'`]+", " ", text).split()).casefold()
