"""Exact match after the normalisation of VQA evaluation."""

import re
import unicodedata

from encodeonce.datasets.sample import Sample, Score

# The lists of the VQA evaluation code (Antol et al., "VQA: Visual Question Answering", 2015,
# visualqa.org/evaluation.html).
ARTICLES = ("a", "an", "the")
NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five"),
    *("six", "seven", "eight", "nine", "ten"),
)

_DIGITS = {"none": "0", **{word: str(value) for value, word in enumerate(NUMBER_WORDS)}}


def score_exact_match(sample: Sample, answer: str) -> Score:
    """Score 1.0 where answer and target are the same once normalised; an empty answer is 0.0.

    ``value`` is None where the target is empty: nothing could be right then.
    """
    target, extracted = normalise(sample.target), normalise(answer) or None
    if not target:
        return Score(value=None, extracted=extracted)
    return Score(value=float(extracted == target), extracted=extracted)


def normalise(text: str) -> str:
    """Return ``text`` in lower case, without punctuation and articles, number words as digits.

    Marks within a number stay (``3.5``, ``10:30``, ``-2``), but not the comma of thousands. A text
    of nothing but articles keeps them.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"(?<=\d),(?=\d{3}\b)|['’]", "", text)
    text = re.sub(r"[^\w\s.:/-]|_", " ", text)
    text = re.sub(r"(?<!\d)[.:/]|[.:/](?!\d)|(?<=\w)-|-(?!\d)", " ", text)
    words = [_DIGITS.get(word, word) for word in text.split()]
    return " ".join([word for word in words if word not in ARTICLES] or words)
