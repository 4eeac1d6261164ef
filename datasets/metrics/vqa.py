"""Score a free answer against one or several right ones.

The rules of VLMEvalKit (vlmeval/dataset/utils/vqa_eval.py, Apache-2.0), which are those of the
benchmarks: VQA (Antol et al., 2015), ANLS of DocVQA (Biten et al., 2019), relaxed accuracy of
ChartQA (Masry et al., 2022). Words are normalised by `exact_match.normalise`.
"""

from collections.abc import Sequence
from typing import Literal, assert_never

from encodeonce.datasets.metrics.exact_match import normalise

VqaMetric = Literal["exact", "vqa_score", "anls", "relaxed_accuracy", "accuracy"]

_NUM_AGREEING = 3
"""People who must have given an answer for it to be fully right in VQA."""
_LEAST_ANLS = 0.5
_TOLERANCE = 0.05
"""Relative error of a number that was read off a chart."""


def score_vqa(metric: VqaMetric, references: Sequence[str], answer: str) -> float:
    """Return the score of ``answer``, in [0, 1]; an empty one is 0.0.

    - ``exact``: the same as a reference after VQA's normalisation.
    - ``vqa_score``: VQA's soft accuracy, for references by several people, mostly ten.
    - ``anls``: one minus the edit distance in characters over the longer text's length, if that is
      at least 0.5; the best over the references.
    - ``relaxed_accuracy``: numbers may be 5 % off, other answers match but for case.
    - ``accuracy``: the same as a reference but for case.
    """
    if not answer.strip():
        return 0.0
    match metric:
        case "exact":
            return float(normalise(answer) in map(normalise, references))
        case "vqa_score":
            return _vqa_score(normalise(answer), [normalise(text) for text in references])
        case "anls":
            best = max(_similarity(reference, answer) for reference in references)
            return best if best >= _LEAST_ANLS else 0.0
        case "relaxed_accuracy":
            return float(any(_is_close(reference, answer.strip()) for reference in references))
        case "accuracy":
            same = (reference.strip().lower() for reference in references)
            return float(answer.strip().lower() in same)
        case _:
            assert_never(metric)


def _vqa_score(answer: str, references: Sequence[str]) -> float:
    """Return how many of the others agree, averaged over leaving each person out once."""
    agreeing = references.count(answer)
    if len(references) == 1:  # there are no others
        return float(agreeing)
    scores = [
        min(1.0, (agreeing - (reference == answer)) / _NUM_AGREEING) for reference in references
    ]
    return sum(scores) / len(scores)


def _similarity(reference: str, answer: str) -> float:
    distance = _edits(" ".join(reference.lower().split()), " ".join(answer.lower().split()))
    return 1 - distance / max(len(reference), len(answer))


def _edits(one: str, other: str) -> int:
    """Return Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        above, row = row, [i]
        for j, candidate in enumerate(other):
            row.append(min(above[j] + (letter != candidate), above[j + 1] + 1, row[j] + 1))
    return row[-1]


def _is_close(reference: str, answer: str) -> bool:
    number, expected = _number(answer), _number(reference)
    if number is None or not expected:
        return answer.lower() == reference.lower()
    return abs(number - expected) / abs(expected) <= _TOLERANCE


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
