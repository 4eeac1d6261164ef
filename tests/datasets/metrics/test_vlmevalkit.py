"""VLMEvalKit's reading of an answer. The expectations were computed with its own code."""

import pytest

from encodeonce.datasets.metrics.vlmevalkit import infer_option, infer_yes_no

CHOICES = ("red car", "blue car", "a dog", "7")

OPTIONS = [
    ("B", "B"), ("(B).", "B"), ("b", None), ("B. blue car", "B"), ("The answer is **C**.", "C"),
    ("A or B", None), ("a blue car", "B"), ("A car", "A"), ("a dog or a red car", None),
    ("A long answer which is about nothing in particular", None),
    ("The correct answer is D because of what one sees in the picture, which A is not", "D"),
    ("Z", None), ("E", None), ("", None), ("I can't process this file. B", None),
    ("the answer is blue", "B"),  # the letter need not stand alone
    ("7" + " and more words" * 9, None),  # more than twice as long as the options
]  # fmt: skip


@pytest.mark.parametrize(("answer", "letter"), OPTIONS)
def test_options(answer: str, letter: str | None) -> None:
    assert infer_option(answer, CHOICES) == letter


def test_a_letter_beyond_the_options_is_none() -> None:
    assert infer_option("C", ("yes", "no")) is None
    assert infer_option("The answer is C", ("yes", "no")) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", "Yes"), ("no.", "No"), ("No, not yes", None), ("It is not", None),
        ("yes,it is", "Yes"), ("answer:no", None), ("", None), ("(yes)", "Yes"),
    ],
)  # fmt: skip
def test_yes_and_no(answer: str, expected: str | None) -> None:
    assert infer_yes_no(answer) == expected
