"""Read the chosen option out of free text.

In the order careful evaluators look (MMMU's ``parse_multi_choice_response``, VLMEvalKit's
``can_infer``), with one difference: where they fall back on a random or a judged option, an answer
that names no option, or several, has chosen none and is wrong.
"""

import re
import string
from collections.abc import Mapping, Sequence

from encodeonce.datasets.metrics.exact_match import normalise
from encodeonce.datasets.sample import Sample, Score

_STATEMENT = (
    r"(?i:\b(?:answer|option|choice)(?:\s+(?:is|was|would\s+be))?)\s*[:=]?[\s*(\[\"']*"
    r"(?:(?i:option|choice)\s+)?"
)
# "A" and "I" before a word in lower case are an article and a pronoun, but "A because" is not.
_NO_ARTICLE = r"(?<![AI](?=\s+(?!(?:is|as|and|or|but|because|since|so|which|would|seems)\b)[a-z]))"


def score_choice(sample: Sample, answer: str) -> Score:
    """Score the option that ``answer`` names: 1.0 if it is the target's letter, else 0.0.

    ``value`` is None where the target is not the letter of an option: nothing could be right then.
    """
    letter = extract_letter(answer, sample.choices)
    if sample.target not in list(string.ascii_uppercase[: len(sample.choices)]):
        return Score(value=None, extracted=letter)
    return Score(value=float(letter == sample.target), extracted=letter)


def extract_letter(answer: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the one option that ``answer`` names, None if it names none or many.

    Looked for in this order; the first form that occurs decides:

    1. the letter alone: ``B``, ``b.``, ``(B)``, ``**B**``
    2. the text of one option, and nothing else
    3. a statement, the last if there are several: ``the answer is B``, ``Option (B)``
    4. the letter first, with punctuation: ``B. A red car``, ``B) because …``
    5. letters in brackets: ``I would say (B)``
    6. capital letters standing alone: ``B seems right`` (not the article in ``A man walks``)
    7. an option's text within the answer; where one option contains another, the longer
    """
    letters = string.ascii_uppercase[: len(choices)]
    if not letters:
        return None
    text = answer.strip()
    if alone := re.fullmatch(rf"\W*([{letters}])\W*", text, flags=re.IGNORECASE):
        return alone[1].upper()
    options = {letter: normalise(choice) for letter, choice in zip(letters, choices, strict=True)}
    if same := [letter for letter, option in options.items() if option == normalise(text)]:
        return _only(same)
    standing = rf"(?<![\w'])([{letters}])(?![\w']){_NO_ARTICLE}"
    if stated := re.findall(rf"{_STATEMENT}{standing}", text):
        return str(stated[-1])
    bracketed = re.findall(rf"[(\[]([{letters}])[)\]]", text)
    if re.match(rf"[*(\[\"']*[{letters}][*\"']*[.):\]]\s", text):
        listed = re.findall(rf"(?<![\w'])([{letters}])[*\"']*[.):\]]\s+\S", text)
        return _only(listed + bracketed)
    if bracketed:
        return _only(bracketed)
    if capitals := re.findall(standing, text):
        return _only(capitals)
    return _contained(normalise(text), options)


def _contained(text: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the one option whose words occur in ``text``, in their order."""
    found = {
        letter: option
        for letter, option in options.items()
        if option and f" {option} " in f" {text} "
    }
    outermost = [
        letter
        for letter, option in found.items()
        if not any(f" {option} " in f" {other} " for other in found.values() if other != option)
    ]
    return _only(outermost)


def _only(letters: Sequence[str]) -> str | None:
    return letters[0] if len(set(letters)) == 1 else None
