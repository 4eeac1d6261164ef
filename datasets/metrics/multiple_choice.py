"""Read the chosen option out of free text.

In the order careful evaluators look (MMMU's ``parse_multi_choice_response``, VLMEvalKit's
``can_infer``), with two differences: options that the answer rejects do not count, and where they
fall back on a random or a judged option, an answer that names no option, or several, has chosen
none and is wrong.
"""

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence

from encodeonce.datasets.metrics.exact_match import normalise
from encodeonce.datasets.metrics.option_mentions import (
    LETTER,
    TEXT,
    letter_of,
    marked,
    unmarked,
    with_signs,
    without_rejected,
)
from encodeonce.datasets.sample import Sample, Score

_THOUGHT = r"think(?:ing)?|thoughts?|reason(?:ing)?|analysis|scratchpad"
_THOUGHTS = re.compile(
    rf"\A.*(?:</(?:{_THOUGHT})>|◁/think▷)|(?:<(?:{_THOUGHT})>|◁think▷).*\Z", re.DOTALL | re.I
)
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
# A run of one mark says nothing more than two of them, and patterns are slow on long ones.
_RUN = re.compile(r"([^\w\n])\1{2,}|(\n)\s*\n")
_DECORATION = r"(?:[\s*_`\"'“”‘’「」『』()\[\]{}<>.,:;!?。$]|\\boxed)*"
_ALONE = re.compile(rf"(?:-\s+)?{_DECORATION}([A-Za-z]){_DECORATION}")

_IS = (
    r"(?:\s+(?:to|for|of)\s+[^.:\n]{1,60}?)?(?:\s+(?:(?:is|was|are|should|would|must|will|has|to)"
    r"\b\s*)+(?:be\b)?(?:\s+(?:therefore|thus|clearly|definitely|likely|probably|simply|still))?)?"
)
_CHOOSING = (
    rf"(?:(?i:\b(?:answer|(?:correct|right|best)\s+(?:option|choice)"
    rf"|(?:option|choice)(?=\s+(?:is|was|would)\b|\s*[:=])){_IS})"
    r"|(?i:\bI(?:['’]?(?:d|ll|m))?\s+(?:would\s+|will\s+)?"
    r"(?:choose|chose|pick|select|go\s+with|going\s+with|say|opt\s+for))"
    r"|(?i:\b(?:antwort(?:\s+ist)?|respuesta(?:\s+(?:correcta\s+)?es)?|réponse(?:\s+est)?"
    r"|risposta(?:\s+è)?|resposta(?:\s+é)?|ответ))"
    r"|(?:答案|正解|正答|答え|정답)(?:应该|应)?(?:是|为|选|選|は|은|:)*"
    r"|(?<!不)(?:故选|应选|选择|选)(?!项))\s*[:=,-]*"
)
_OPENING = r"[\s*_`(\[{<\"'“‘「『$]*(?:\\(?:boxed|text\w*|math\w*)\s*\{\s*)*"
_CALLED = rf"{_OPENING}(?:(?i:the|an?|option|choice|letter|number|选项)\b\s*)*{_OPENING}"
# A small letter that is no word: "the answer is b."
_SMALL = (
    r"(?<![\w'’-])(?:[a-z](?=[*_`\"'”’)\]}]*(?:[.,;:!?]|\s*\Z|\s*\n|\s+(?:or|and|because|since|as"
    r"|which)\b))|[b-df-hj-np-tv-xz](?![\w'’+#%°&@-]))"
)
_OPTION = rf"({LETTER}|{TEXT}|{_SMALL})"
_RIGHT = (
    rf"({LETTER}|{TEXT})(?=[*_`\"'”’)\]}}]*(?:\s*\([^()\n]{{0,80}}\))?\s+(?:is|must\s+be"
    r"|seems\s+to\s+be|would\s+be)\s+(?:\w+ly\s+)?(?:the\s+)?(?:most\s+|only\s+|best\s+)?"
    r"(?:correct|right|answer|true)\b)"
)
_STATEMENT = re.compile(rf"{_CHOOSING}{_CALLED}{_OPTION}|{_RIGHT}")
_OR = (
    r"(?:[\s,*_\"')\]}]*(?:\b(?i:or|and|oder|und|ou|y|o|e)\b|/|&|或者|或|和|、|,)\s*)+"
    r"(?:(?i:maybe|perhaps|possibly|even|either|also|else)\s+)*"
)
_FURTHER = re.compile(rf"{_OR}{_CALLED}{_OPTION}")
_ALSO = re.compile(
    r"\b(?:or|and|either|alternatively|also)\b[\s,]*(?:(?:the|maybe|perhaps)\s*)?\Z", re.I
)
_FIRST = re.compile(rf"[*(\[\"']*({LETTER}|[A-Za-z])[*\"']*[.):\]]\s")
_LISTED = re.compile(rf"({LETTER})[*\"']*[.):\]]\s+\S")
_BRACKETED = re.compile(rf"(?<!\w)(?:[(\[]({LETTER})[)\]]|\(([a-z])\))")


def score_choice(sample: Sample, answer: str) -> Score:
    """Score the option that ``answer`` names: 1.0 if it is the target's letter, else 0.0.

    ``value`` is None where that cannot be told: the target is not the letter of an option, or the
    answer is the letter of one option and the text of another, and one of them is the target.
    """
    named = _named(answer, sample.choices)
    letter = named[0] if len(named) == 1 else None
    if sample.target not in list(string.ascii_uppercase[: len(sample.choices)]):
        return Score(value=None, extracted=letter)
    if len(named) > 1 and sample.target in named:
        return Score(value=None, extracted=None)
    return Score(value=float(letter == sample.target), extracted=letter)


def extract_letter(answer: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the one option that ``answer`` names, None if it names none or many.

    What stands between thinking tags is not part of the answer, and where there are answer tags,
    only what stands between them is. An option that the answer rejects (``Option A is incorrect``,
    ``not B``) is not named. Looked for in this order; the first form that occurs decides:

    1. the letter alone: ``B``, ``b.``, ``(B)``, ``**B**``
    2. the text of one option, and nothing else; signs tell texts apart: ``A+``, ``3%``
    3. a statement, the last if there are several: ``the answer is B``, ``B is correct``
    4. the letter first, with punctuation: ``B. A red car``, ``B) because …``
    5. letters in brackets: ``I would say (B)``
    6. capital letters standing alone: ``B seems right`` (not the article in ``A man walks``)
    7. an option's text within the answer; where one option contains another, the longer

    A letter that is also the text of another option names neither, unless in brackets.
    """
    named = _named(answer, choices)
    return named[0] if len(named) == 1 else None


def _named(answer: str, choices: Sequence[str]) -> tuple[str, ...]:
    """Return the letter named; several only for a letter that is also another option's text."""
    options = dict(zip(string.ascii_uppercase, choices, strict=False))
    said = _said(answer)
    text = _RUN.sub(_shorter, unicodedata.normalize("NFKC", said))
    same = _same_text(said, options)
    alone = _ALONE.fullmatch(text)
    if alone and (letter := alone[1].upper()) in options:
        return (
            (letter,) if re.search(r"[(\[{<]", text) else tuple({letter: 0} | dict.fromkeys(same))
        )
    if same:
        return _only(same)
    text = without_rejected(marked(text, options))
    if stated := [letter for letter in _stated(text) if letter in options]:
        return _or_text(_only(stated), options)
    return _mentioned(text, options)


def _said(answer: str) -> str:
    """Return the answer without thoughts, and without what stands outside answer tags."""
    text = _THOUGHTS.sub("", answer)
    tagged = _TAGGED.findall(text)
    return (tagged[-1] if tagged else text).strip()


def _shorter(run: re.Match[str]) -> str:
    return run[1] * 2 if run[1] else "\n"


def _same_text(text: str, options: Mapping[str, str]) -> list[str]:
    """Return the options whose text is ``text``, in the strictest sense in which there are any."""
    bare = text.strip("*_`\"'“”‘’ \n")
    for form in (
        str.strip,
        lambda some: some.strip().rstrip(".").casefold(),
        with_signs,
        normalise,
    ):
        wanted = form(bare)
        if same := [key for key, option in options.items() if wanted and form(option) == wanted]:
            return same
    return []


def _stated(text: str) -> list[str]:
    """Return the options of the last statement: several if it leaves a choice, none if none."""
    found: list[str] = []
    for match in _STATEMENT.finditer(text):
        if not _ALSO.search(text[max(0, match.start() - 40) : match.start()]):
            found = []
        found.append(_letter(match[1] or match[2]))
        end = match.end()
        while further := _FURTHER.match(text, end):
            found.append(_letter(further[1]))
            end = further.end()
    return found


def _letter(mention: str) -> str:
    return mention.upper() if mention.isascii() else letter_of(mention)


def _mentioned(text: str, options: Mapping[str, str]) -> tuple[str, ...]:
    """Return the one option that a marked text mentions, by the first form that occurs."""
    brackets = [_letter(found[1] or found[2]) for found in _BRACKETED.finditer(text)]
    brackets = [letter for letter in brackets if letter in options]
    if (first := _FIRST.match(text)) and (letter := _letter(first[1])) in options:
        return _only([letter, *map(letter_of, _LISTED.findall(text)), *brackets])
    if brackets:
        return _only(brackets)
    if letters := re.findall(LETTER, text):
        return _or_text(_only(list(map(letter_of, letters))), options)
    words = unmarked(text, options)
    for form in (with_signs, normalise):
        texts = {key: form(option) for key, option in options.items()}
        if contained := _contained(form(words), texts):
            return _only(contained)
    return ()


def _contained(text: str, options: Mapping[str, str]) -> list[str]:
    """Return the options whose words occur in ``text``, in their order, and in no longer one."""
    found = {
        letter: option
        for letter, option in options.items()
        if option and f" {option} " in f" {text} "
    }
    return [
        letter
        for letter, option in found.items()
        if not any(f" {option} " in f" {other} " for other in found.values() if other != option)
    ]


def _or_text(named: tuple[str, ...], options: Mapping[str, str]) -> tuple[str, ...]:
    """Add the options whose text is the letter named."""
    texts = [key for key, option in options.items() if named and option.strip() == named[0]]
    return tuple(dict.fromkeys([*named, *texts]))


def _only(letters: Sequence[str]) -> tuple[str, ...]:
    return (letters[0],) if len(set(letters)) == 1 else ()
