"""ROUGE-L (Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004).

Two values bear that name. `rouge_l` is the one to report. `rouge_l_legacy` only serves comparison
with results that were published with the PyPI package `rouge` (PrefixKV, MileBench): it compares
sets of words, so that a phrase repeated twenty times scores as well as the phrase.
"""

import re
from collections.abc import Sequence

from encodeonce.datasets.sample import Scored

_EPSILON = 1e-8
"""What the package adds to the denominator of F1."""


def rouge_l(prediction: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of tokens, in [0, 1].

    Tokens are those of Google's `rouge_score` without stemming: runs of a-z and 0-9 in lower case.
    A text without any, so also one in another script, scores 0.0.
    """
    predicted, referred = _tokens(prediction), _tokens(reference)
    if not predicted or not referred:
        return 0.0
    return 2 * _lcs_lengths(referred, predicted)[-1][-1] / (len(predicted) + len(referred))


def rouge_l_legacy(prediction: str, reference: str) -> float:
    """Return ``Rouge().get_scores(prediction, reference)[0]["rouge-l"]["f"]`` of `rouge` 1.0.1.

    Sentences end at every full stop, words at blanks, case and punctuation count. For each
    sentence of the reference, the distinct words of its longest common subsequences with the
    sentences of the prediction are united; precision and recall divide the size of the whole union
    by the number of distinct words of each text. Equal texts score 1 / (1 + 0.5e-8).

    An empty text, which the package refuses, scores 0.0.
    """
    predicted, referred = _sentences(prediction), _sentences(reference)
    if not predicted or not referred:
        return 0.0
    common: set[str] = set()
    for sentence in referred:
        for other in predicted:
            common.update(_common_words(sentence, other))
    precision = len(common) / len({word for sentence in predicted for word in sentence})
    recall = len(common) / len({word for sentence in referred for word in sentence})
    return 2.0 * (precision * recall / (precision + recall + _EPSILON))


def legacy_figure(scored: Sequence[Scored]) -> dict[str, float]:
    """Return the figure by which papers on compressed caches compare texts."""
    values = [rouge_l_legacy(answer.text, answer.target) for answer in scored]
    return {"ROUGE-L of the package rouge, of 100": 100 * sum(values) / len(values)}


def _tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _sentences(text: str) -> list[list[str]]:
    """Return the words of each sentence; one of blanks alone has one empty word, as there."""
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _lcs_lengths(one: Sequence[str], other: Sequence[str]) -> list[list[int]]:
    """Return the lengths of longest common subsequences of all pairs of prefixes.

    Entry [i][j] belongs to the first i words of ``one`` and the first j of ``other``.
    """
    table = [[0] * (len(other) + 1)]
    for word in one:
        above, row = table[-1], [0]
        for j, candidate in enumerate(other):
            row.append(above[j] + 1 if word == candidate else max(above[j + 1], row[j]))
        table.append(row)
    return table


def _common_words(one: Sequence[str], other: Sequence[str]) -> set[str]:
    """Return the words of one longest common subsequence; of several, the package's choice."""
    table = _lcs_lengths(one, other)
    i, j = len(one), len(other)
    words = set()
    while i and j:
        if one[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            words.add(one[i])
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return words
