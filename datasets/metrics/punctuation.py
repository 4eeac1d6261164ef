"""The punctuation rule of VQA's evaluation code, as two benchmarks' scorers have adopted it."""

import re

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_NUM_PERIODS = 32
"""Periods that are removed: both scorers pass a flag of the value 32 where a count belongs."""


def strip_punctuation(text: str, period: re.Pattern[str]) -> str:
    """Return ``text`` without punctuation (``processPunctuation``, Antol et al., "VQA", 2015).

    A mark that is next to a blank somewhere is removed, any other becomes a blank; where a comma
    is between digits, all marks are removed.

    Args:
        text: any.
        period: which periods are removed; the scorers differ in that.
    """
    joins = re.search(r"\d,\d", text) is not None
    stripped = text
    for mark in _MARKS:
        beside_blank = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if joins or beside_blank else " ")
    return period.sub("", stripped, count=_NUM_PERIODS)
