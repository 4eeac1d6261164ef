"""Read answers as VLMEvalKit does without a judge (``--judge exact_matching``).

The rules of ``can_infer`` (vlmeval/utils/matching_util.py) and ``YOrN_Extraction``
(vlmeval/dataset/utils/yorn.py) of github.com/open-compass/VLMEvalKit, e8e78f05, Apache-2.0. Its
default is to ask a GPT model about the answers that these rules leave open, so that published
figures of models that answer in sentences are a little higher.
"""

import re
import string
from collections.abc import Sequence

from encodeonce.datasets.metrics.punctuation import strip_punctuation

_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_BLANKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
# The letter need not stand alone there: "the answer is blue" is a B.
_STATED = re.compile(r"(?i)answer\s+is\s+\**([ABCD])")
_LAST_WORDS = 5
_PERIOD = re.compile(r"(?<!\d)\.(?!\d)")


def infer_option(answer: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the option that ``answer`` names, None if it names none or many.

    1. Refusals name none.
    2. If exactly one letter stands alone as a word, and first among the last five words, that one.
       "Z" alone names none.
    3. After "answer is", the next letter if it is one of A to D.
    4. The one option whose text is in the answer, unless the answer is more than twice as long as
       all options together.
    """
    letters = string.ascii_uppercase[: len(choices)]
    if any(refusal in answer for refusal in _REFUSALS):
        return None
    words = answer.translate(_BLANKS).split()
    standing = [letter for letter in letters if letter in words]
    if len(standing) == 1 and words.index(standing[0]) > len(words) - _LAST_WORDS:
        return standing[0]
    if not standing and "Z" in words:
        return None
    if (stated := _STATED.search(answer)) and stated[1].upper() in letters:
        return stated[1].upper()
    return _option_in(answer.lower(), choices)


def _option_in(answer: str, choices: Sequence[str]) -> str | None:
    if len(answer) > 2 * sum(map(len, choices)):
        return None
    found = [
        letter
        for letter, choice in zip(string.ascii_uppercase, choices, strict=False)
        if choice.lower() in answer
    ]
    return found[0] if len(found) == 1 else None


def infer_yes_no(answer: str) -> str | None:
    """Return ``"Yes"`` or ``"No"`` if just one of them is a word of ``answer``, else None."""
    words = strip_punctuation(answer.lower(), _PERIOD).split()
    if ("yes" in words) == ("no" in words):
        return None
    return "Yes" if "yes" in words else "No"
