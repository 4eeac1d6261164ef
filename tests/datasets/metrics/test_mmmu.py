"""MMMU's reading of answers, worked out by hand from the published rules."""

import pytest

from encodeonce.datasets.metrics.mmmu import is_open_match, read_choice

CHOICES = ("a red car", "a blue boat", "a green plane")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("'B'", "B"),
        ("B: a blue boat", "B"),
        ("A. is wrong, and so the answer is C. Yes", "C"),  # the last with a full stop
        ("A: no, C: no, B. yes", "B"),  # a full stop goes before a colon
        ("Not (A) but (C) I think", "C"),
        ("A or B", "B"),
        ("I think that this must be a blue boat", "B"),  # more than five words, by text
        ("a blue boat", None),  # five words at most must name a letter
        ("A blue boat", "A"),  # an article is a letter for these rules
        ("I see a red car and a green plane", "C"),
        ("D", None),
        ("b", None),
        ("", None),
        ("I do not know what to say about it", None),
    ],
)
def test_the_letter_named_last_is_the_choice(answer: str, letter: str | None) -> None:
    assert read_choice(answer, CHOICES) == letter


@pytest.mark.parametrize(
    ("answer", "target", "matches"),
    [
        ("4", "4", True),
        ("4.001", "4", True),  # two digits count
        ("4.01", "4", False),
        ("The final answer is 7,243,000.", "7243000", True),
        ("x = 3 + 4 = 7", "7", True),
        ("x = 3 + 4 = 7", "3", False),  # only what stands behind the last sign
        ("First 12.\nTherefore 13", "13", True),
        ("First 12.\nTherefore 13", "12", False),  # a line without a result says nothing
        ("1.5e3", "1500", True),
        ("It is an oxygen atom", "Oxygen", True),
        ("It is nitrogen", "oxygen", False),
        ("Point C", "C", True),  # a letter counts beside a blank
        ("Cat", "C", False),
        ("the result is", "is", True),  # nothing behind the indicator: the whole answer
        ("", "4", False),
        (" ", "4", False),
    ],
)
def test_a_free_answer_holds_the_target(answer: str, target: str, matches: bool) -> None:
    assert is_open_match(answer, target) is matches
