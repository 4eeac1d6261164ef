"""Read answers as MMMU's evaluation does, in Video-MMMU's version of it.

Source: ``parse_multi_choice_response``, ``parse_open_response`` and ``eval_open`` of MMMU
(github.com/MMMU-Benchmark/MMMU, eval/eval_utils.py) as changed for Video-MMMU
(github.com/EvolvingLMMs-Lab/VideoMMMU, tasks/videommmu/utils.py): of several letters the last
counts, and none is drawn at random. An empty answer, which those scripts leave out of the count, is
a miss here.
"""

import re
import string
from collections.abc import Callable, Sequence

_NUMBERS = (
    r"-?\b\d{1,3}(?:,\d{3})+\b",
    r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
    r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
)
# Words that a result follows.
_INDICATORS = (
    *("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ", "are "),
    *("in total ", "total ", "identify ", "recognize ", "calculated as ", "counted as "),
    *("measured as ", "observed as ", "concluded as ", "found to be ", "equals "),
    *("determined to be ", "number of ", "value is ", "adds up to ", "have ", "has "),
)
_TRIVIAL = (":", ",", ".", "!", "?", ";", "'")
MIN_WORDS = 5
"""Only an answer of more words than this may name an option by its text."""


def read_choice(answer: str, choices: Sequence[str]) -> str | None:
    """Return the letter that an answer names last, in the first of these forms that occurs.

    1. ``B.`` or ``B:``   2. ``(B)``   3. ``B`` before a blank   4. the text of an option
    """
    for mark in ",.!?;:'":
        answer = answer.strip(mark)
    text = f" {answer} "
    letters = string.ascii_uppercase[: len(choices)]
    dotted = [letter for letter in letters if f"{letter}." in text]
    found = dotted + [letter for letter in letters if f"{letter}:" in text]
    if found:
        return _last(found, lambda letter: text.rfind(f"{letter}." if dotted else f"{letter}:"))
    if found := [letter for letter in letters if f"({letter})" in text]:
        return _last(found, lambda letter: text.rfind(f"({letter})"))
    if found := [letter for letter in letters if f"{letter} " in text]:
        return _last(found, lambda letter: text.rfind(f" {letter} "))
    if len(text.split()) <= MIN_WORDS:
        return None
    places = {
        letter: text.lower().rfind(choice.lower())
        for letter, choice in zip(letters, choices, strict=True)
    }
    found = [letter for letter, place in places.items() if place >= 0]
    return _last(found, places.__getitem__) if found else None


def _last(letters: Sequence[str], place: Callable[[str], int]) -> str:
    return max(letters, key=place)


def is_open_match(answer: str, target: str) -> bool:
    """Return whether a free answer holds the target: its number, or its words in a result."""
    if not answer:
        return False
    targets = _normalised(target)
    return any(
        any(isinstance(wanted, str) and wanted in found for wanted in targets)
        if isinstance(found, str)
        else found in targets
        for found in read_open(answer)
    )


def read_open(answer: str) -> list[str | float]:
    """Return what an answer may mean: what follows its indicator words, and the numbers in that."""
    results = _results(answer)
    numbers = [
        match for result in results for form in _NUMBERS for match in re.findall(form, result)
    ]
    return [value for text in (*results, *numbers) for value in _normalised(text)]


def _results(answer: str) -> list[str]:
    """Return each line's shortest text behind an indicator; without any, the whole answer.

    The scripts mean to split sentences, too, but look for their capitals in lower-case text.
    """
    answer = answer.strip().strip(".").lower()
    *lines, last = answer.split("\n")
    results = [_result(line, _INDICATORS) for line in lines]
    results.append(_result(last, (*_INDICATORS, "=")))
    return [result for result in results if result and result not in _TRIVIAL] or [answer]


def _result(line: str, indicators: Sequence[str]) -> str:
    shortest = ""
    for indicator in indicators:
        if indicator in line:
            tail = line.split(indicator)[-1].strip()
            # An empty text gives way to the next one, in the scripts' order.
            if not shortest or len(tail) < len(shortest):
                shortest = tail
    return shortest


def _normalised(text: str) -> list[str | float]:
    """Return a number, rounded to two digits, or the text in lower case."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        # A single letter occurs in most words.
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
