"""Exact match of texts as they are: ``exact_match`` of lm-eval and lmms-eval.

Source: ``exact_match`` of Hugging Face's ``evaluate``, which both ship.
"""

import re
import string
from collections.abc import Sequence

from encodeonce.datasets.sample import Sample, Score


def score_verbatim(
    sample: Sample,
    answer: str,
    *,
    ignore_case: bool,
    ignore_punctuation: bool,
    ignore_numbers: bool,
    regexes_to_ignore: Sequence[str],
) -> Score:
    """Score 1.0 where the answer is the same text as one of the right ones, blanks around it aside.

    Args:
        sample: with the target, or several right answers.
        answer: the model's text; an empty one is a miss.
        ignore_case: compare in lower case.
        ignore_punctuation: leave ASCII punctuation out.
        ignore_numbers: leave digits out.
        regexes_to_ignore: leave out what matches, before everything else.
    """
    ignored = (string.punctuation if ignore_punctuation else "") + (
        string.digits if ignore_numbers else ""
    )

    def plain(text: str) -> str:
        for regex in regexes_to_ignore:
            text = re.sub(regex, "", text)
        text = text.lower() if ignore_case else text
        return text.translate(str.maketrans("", "", ignored))

    extracted = answer.strip()
    if not extracted:
        return Score(value=0.0, extracted=None)
    right = map(plain, sample.references or (sample.target,))
    return Score(value=float(plain(extracted) in right), extracted=extracted)
