"""Mark where a text mentions options, by letter or by text, and drop what it mentions to reject.

A letter is a mention only where it stands alone. Chinese, Japanese, Korean and Thai are written
without blanks, so a letter within them stands alone, too; a letter with a sign (``A+``, ``C#``)
does not, and neither does an initial (``D.C.``).

A mention becomes one character of Unicode's private use, so that the patterns which read sentences
are the same for all options, and are compiled once.
"""

import re
from collections.abc import Mapping

from encodeonce.datasets.metrics.exact_match import normalise

LETTER = "[\ue000-\ue019]"
"""Pattern of an option mentioned by its letter."""
TEXT = "[\ue100-\ue119]"
"""Pattern of an option mentioned by its text."""
_PRIVATE = re.compile("[\ue000-\uf8ff]")
# What is left of a mention that was dropped: a word, as the grammar around it needs one.
_REJECTED = "zz"

# Thai, Lao, Tibetan, Myanmar, Khmer; kana and Chinese characters; Hangul; the rare rest of Han.
_UNSPACED = "\u0e00-\u109f\u1780-\u17ff\u3040-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"
_BEFORE = (
    rf"(?:(?<![\w'’$€£+#@&-])|(?<=[{_UNSPACED}])|(?<=\s-)|(?<=^-)|(?<=\$)(?=[A-Z]\$))(?<![A-Z]\.)"
)
_AFTER = rf"(?:(?![\w'’+#%°&@-]|\.[A-Z]\b)|(?=[{_UNSPACED}])|(?=--))"
# "A" and "I" before a word in lower case are an article and a pronoun, but "A because" is not.
_NO_ARTICLE = (
    r"(?:(?<=ption [AI])|(?<=hoice [AI])|(?<![AI](?=\s+(?!(?:is|isn|was|does|doesn|can|cannot"
    r"|would|seems|looks|must|has|as|and|or|but|because|since|so|which|not|nor|rather|instead"
    r"|over|though|although|while|with)\b)[a-z])))"
)
_STANDING = re.compile(rf"{_BEFORE}([A-Z]){_AFTER}{_NO_ARTICLE}")


def marked(text: str, options: Mapping[str, str]) -> str:
    """Return ``text`` with a mark in place of every option that it mentions.

    Args:
        text: an answer.
        options: the options' texts by letter.
    """
    text = _PRIVATE.sub("", text)
    for letter, option in sorted(options.items(), key=lambda item: -len(item[1])):
        # A text that is a letter is read as that letter.
        if any(map(str.isalnum, option)) and option.strip() not in options:
            inside = r"\s+".join(map(re.escape, option.split()))
            whole = rf"(?<![\w$€£+#-])(?<!\d[.,:/])(?i:{inside})(?![\w+#%°]|[.,:/-]\w)"
            text = re.sub(whole, chr(ord("\ue100") + ord(letter) - ord("A")), text)
    return _STANDING.sub(
        lambda found: (
            chr(ord("\ue000") + ord(found[1]) - ord("A")) if found[1] in options else found[1]
        ),
        text,
    )


def letter_of(mark: str) -> str:
    """Return the letter of the option that is mentioned."""
    return chr(ord("A") + (ord(mark) & 0xFF))


def unmarked(text: str, options: Mapping[str, str]) -> str:
    """Return the text in words, with the options' texts in their own spelling."""
    text = re.sub(LETTER, lambda mark: letter_of(mark[0]), text)
    return re.sub(TEXT, lambda mark: options[letter_of(mark[0])], text)


_REJECTING = (
    r"(?i:(?:\b(?:not(?!\s+only\b)|never|neither|nor|cannot\s+be|rul(?:e|es|ed|ing)\s+out"
    r"|exclud(?:e|es|ed|ing)|eliminat(?:e|es|ed|ing)|discard(?:s|ed|ing)?|dismiss(?:es|ed|ing)?"
    r"|reject(?:s|ed|ing)?|rather\s+than|instead\s+of|other\s+than|unlike"
    r"|(?<!wrong )(?<!incorrect )except(?:\s+for)?"
    r"|(?:incorrect|wrong)\s+(?:answer|option|choice)s?(?:\s+(?:is|are))?)"
    r"|n['’]t)\b)"
)
_FILLERS = (
    r"(?:\s*:?\s*(?i:the|a|an|be|been|have|is|are|was|it|it['’]s|this|that|in|to|with|either|both"
    r"|necessarily|likely|really|simply|just|correct|right|true|answers?|options?|choices?|one"
    r"|think|believe|choose|select|pick|go|going)\b)*"
)
_VERB = (
    r"(?:(?:is|are|was|were|seems?|looks?|appears?|can|could|would|should|must|might|may|has|have"
    r"|to|be|been)\s+)"
)
_ADVERBS = r"(?:(?:\w+ly|also|both|all|just|therefore|thus|the|an?)\s+)*"
_WRONG = (
    rf"(?i:(?:{_VERB}+{_ADVERBS}not\b(?!\s+(?:only|wrong|incorrect|false)\b)"
    r"|(?:(?:do|does|did|is|are|was|were|ca|could|would|should|wo|has|have)n['’]t"
    r"|(?:(?:do|does|did|will|can)\s+not|cannot)|not\s+(?:correct|right|true|possible))\b"
    rf"|{_VERB}+{_ADVERBS}(?:out|no)\b"
    rf"|{_VERB}*{_ADVERBS}(?:incorrect|wrong|false|invalid|inaccurate|ruled\s+out|excluded|fails"
    r"|eliminated|rejected|discarded|impossible|unlikely|contradicts?)\b))"
)
_REJECTING_CHINESE = r"(?:不是|不选|不选择|不可能是|并非|而非|排除(?:了)?)(?:选项|答案)?"
_WRONG_CHINESE = (
    r"\s*(?:选项|项)?\s*(?:也|都|均|则|显然|明显)*(?:是)?"
    r"(?:不正确|不对|不符|不是|不成立|不可能|错|有误|被排除|可以排除|可排除)"
)
_CLOSING = r"[*_`\"'”’」』)\]}>$]*"
_NAME = (
    r"(?:(?i:the|an?|options?|choices?)\s+|选项)*[(\[*\"']*"
    rf"(?:{LETTER}[)\]*\"']*(?:[.:\s]*\(?[\"']*{TEXT}[\"')]*)?|{TEXT}[)\]*\"']*)"
)
# Not more than eight in a row: long lists are no rejections, and would take long to read. In
# "the answer is A and B is wrong" the verb is B's alone.
_ALL_WRONG = re.compile(
    rf"(?:{_NAME}(?:\s*,\s*{_NAME}){{0,8}}\s*(?:,?\s*\b(?:and|or|nor)\b|/|&|、|和)\s*{_NAME}"
    rf"(?!\s+(?:is|was|has|does|isn|wasn|doesn)\b)|{_NAME})"
    rf"(?={_CLOSING}(?:\s*\([^()\n]{{0,80}}\))?(?:\s*[:=–—-])?\s*{_WRONG}|{_WRONG_CHINESE}"
    r"|\.\s*(?i:incorrect|wrong|false)\s*(?:[.,;\n]|\Z))"
)
_NOT_ONE = re.compile(
    rf"(?:{_REJECTING}{_FILLERS}|{_REJECTING_CHINESE})[\s*_`\"'“”‘’「」『』(\[{{<$]*"
    rf"{_NAME}(?:\s*(?:,|/|\b(?:or|nor)\b)+\s*{_NAME}){{0,8}}"
)


def without_rejected(text: str) -> str:
    """Return a marked text without the options that it says are not the answer.

    ``not B``, ``Option A is incorrect``, ``A and C can be ruled out``, ``it isn't the red car``,
    ``B rather than C``, ``不是A``; but ``not only A``.
    """
    text = _ALL_WRONG.sub(lambda found: re.sub(rf"{LETTER}|{TEXT}", _REJECTED, found[0]), text)
    return _NOT_ONE.sub(lambda found: re.sub(rf"{LETTER}|{TEXT}", _REJECTED, found[0]), text)


# Signs that belong to a text ("3%", "$3", "A+", "C#"), apart from those of Markdown and LaTeX.
_SIGN = re.compile(r"[+%€£¥°=<>≤≥≠±×÷&@~^√]|\$(?=[\d.])|(?<=\w)#|(?<=\d)\$|#(?=\d)")


def with_signs(text: str) -> str:
    """Return ``text`` normalised as for an exact match, but with signs as parts of their words."""
    text = re.sub(r"[\u2010-\u2012\u2212]", "-", text)
    text = re.sub(r"(?<=\d)\s+(?=[%°])|(?<=[$€£¥±])\s+(?=\d)", "", text)
    # Elsewhere a trailing minus would be lost, and "A-" be "A".
    text = re.sub(r"(?<=\w)-(?![\w-])", "sign45", text)
    return normalise(_SIGN.sub(lambda sign: f"sign{ord(sign[0])}", text))
