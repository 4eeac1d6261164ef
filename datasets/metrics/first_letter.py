"""Read the chosen option as some benchmarks' own scripts do: the answer's first capital letter.

The rule of Video-MME's ``eval_your_results.py`` (github.com/thanku-all/parse_answer), which
LongVideoBench's scorer in lmms-eval shares. It is rough: ``The red Car`` is a C. Published figures
were measured with it.

Two differences. The scripts list a dozen phrases to remove first; only those that hold one of the
letters can change what is found. Video-MME's list joins two of these by a missing comma, so that it
reads ``Best answer: C`` as B, and LongVideoBench's lacks one, so that it reads ``Answer: C`` as A:
here they are taken as meant. And an answer without a letter is a miss: Video-MME's script leaves it
out of the count, LongVideoBench's draws an option at random.
"""

import re

from encodeonce.datasets.sample import Sample, Score

_PHRASES = re.compile("Best answer:|Best option:|Answer:")


def score_first_letter(sample: Sample, answer: str, letters: str) -> Score:
    """Score 1.0 if the first capital among ``letters`` is the target's, else 0.0.

    ``value`` is None where the target is not among the letters: nothing could be right then.
    """
    found = re.search(f"[{letters}]", _PHRASES.sub("", answer))
    extracted = found[0] if found else None
    if sample.target not in list(letters):
        return Score(value=None, extracted=extracted)
    return Score(value=float(extracted == sample.target), extracted=extracted)
