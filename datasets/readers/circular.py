"""Circular evaluation (Liu et al., "MMBench", 2023, arXiv:2307.06281, section 4.3).

A question with N options is asked N times, its options shifted by one each time, and is right only
if all N answers are. In the published TSV files the copies are rows of their own: the copies of the
question ``i`` have the indices ``i + 1000000``, ``i + 2000000``, …
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from encodeonce.datasets.readers.vlmevalkit import Question
from encodeonce.datasets.sample import BenchmarkError, Scored

_STEP = 1_000_000
PASS = "pass"
"""The tag that says which copy a sample is, ``"2 of 4"``."""


def in_circles(questions: Iterable[Question]) -> Iterator[Question]:
    """Yield the questions, each followed by its copies, with the tag `PASS`.

    Raises:
        BenchmarkError: an index is not a number, or copies of a question lack the original.
    """
    circles: dict[int, list[Question]] = {}
    for question in questions:
        circles.setdefault(_number(question) % _STEP, []).append(question)
    for original, circle in circles.items():
        circle.sort(key=_number)
        if _number(circle[0]) != original:
            raise BenchmarkError(
                f"{circle[0].place}: this is a copy of the question {original}, which is not there"
            )
        for position, question in enumerate(circle, start=1):
            tags = {**question.tags, PASS: f"{position} of {len(circle)}"}
            yield replace(question, tags=tags)


def without_copies(questions: Iterable[Question]) -> Iterator[Question]:
    """Yield the original questions, without their copies.

    Raises:
        BenchmarkError: an index is not a number.
    """
    return (question for question in questions if _number(question) < _STEP)


def circular_figures(scored: Sequence[Scored], tags: Sequence[str]) -> dict[str, float]:
    """Return the circular accuracy in percent, over all questions and by the values of ``tags``.

    Questions of which not every copy was answered are left out.
    """
    circles: dict[int, list[Scored]] = {}
    for answer in scored:
        circles.setdefault(int(answer.sample) % _STEP, []).append(answer)
    whole = [
        circle for circle in circles.values() if circle[0].tags[PASS].endswith(f" of {len(circle)}")
    ]
    figures = _accuracy("circular accuracy", whole)
    for tag in tags:
        values = sorted({circle[0].tags[tag] for circle in whole if tag in circle[0].tags})
        for value in values:
            part = [circle for circle in whole if circle[0].tags.get(tag) == value]
            figures.update(_accuracy(f"circular accuracy, {tag} {value}", part))
    return figures


def _accuracy(name: str, circles: Sequence[Sequence[Scored]]) -> dict[str, float]:
    if not circles:
        return {}
    num_right = sum(all(answer.value == 1.0 for answer in circle) for circle in circles)
    return {f"{name}, % of {len(circles)} questions": 100 * num_right / len(circles)}


def _number(question: Question) -> int:
    try:
        return int(question.index)
    except ValueError:
        raise BenchmarkError(
            f"{question.place}: the index {question.index!r} is no number; circular evaluation "
            f"finds the copies of a question by their numbers. Use evaluation: vanilla"
        ) from None
