"""MileBench's scorers.

The rules of ``evaluate.py`` of github.com/MileBench/MileBench (Apache-2.0). One difference: an
empty answer to a question with options counts as option C there, and is a miss here.
"""

import re
import string
from collections.abc import Sequence

from encodeonce.datasets.metrics.punctuation import strip_punctuation

# The lookbehind that was to spare "3. " is misspelt there and spares nothing; "3.5" stays.
_PERIOD = re.compile(r"\.(?!\d)")

_ESCAPED = re.compile(r"[.^$*|]")


def plain(text: str) -> str:
    """Return ``text`` in lower case, without punctuation and line breaks."""
    stripped = strip_punctuation(text.replace("\n", " ").replace("\t", " ").strip(), _PERIOD)
    return stripped.strip("'").strip('"').strip().lower()


def chosen_option(answer: str, options: Sequence[str]) -> int | None:
    """Return the position of the option that ``answer`` names, None if it names none or many.

    The first rule that finds something decides, and of several options the one that stands first
    in the answer:

    1. an option with its letter, ``B. red car``
    2. an option's text, blanks ignored; not one with a ``.`` in it, as in ``3.5``, or one of
       ``^$*|``: the script escapes these for its search, and then compares with what it found
    3. the answer is a letter
    4. exactly one letter of the answer is the letter of an option: ``(b)``
    """
    text, texts = plain(answer), [plain(option) for option in options]
    if not text:
        return None
    names = [_name(position) for position in range(len(options))]
    labelled = [plain(f"{name} {option}") for name, option in zip(names, texts, strict=True)]
    if (found := _first(text, labelled)) is not None:
        # The script keeps the letter, and of "AB." only its first one.
        return names.index(names[found][0])
    compact = [option.replace(" ", "") for option in texts]
    found = _first(text.replace(" ", ""), compact)
    if found is not None and not _ESCAPED.search(compact[found]):
        return found
    letters = text.upper()
    if letters not in names:
        letters = "".join(letter for letter in letters if letter in names)
    return names.index(letters) if letters in names else None


def holds_needle(answer: str, target: str) -> bool:
    """Whether the target is a word of the answer (the needle in a haystack)."""
    return plain(target) in plain(answer).split()


def holds_text(answer: str, target: str) -> bool:
    """Whether the target occurs in the answer (MMCoQA)."""
    return bool(plain(answer)) and plain(target) in plain(answer)


def _name(position: int) -> str:
    """Return A to Z, then AA to AZ, BA to BZ."""
    prefix, letter = divmod(position, len(string.ascii_uppercase))
    first = string.ascii_uppercase[prefix - 1] if prefix else ""
    return first + string.ascii_uppercase[letter]


def _first(text: str, parts: Sequence[str]) -> int | None:
    """Return which part begins first in ``text``; of several that do, the first in the list."""
    places = [(text.find(part), number) for number, part in enumerate(parts) if part in text]
    return min(places)[1] if places else None
