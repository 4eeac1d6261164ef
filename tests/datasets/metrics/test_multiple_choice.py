"""Finds the option that an answer names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encodeonce.datasets.metrics.multiple_choice import extract_letter, score_choice
from encodeonce.datasets.sample import Sample

CHOICES = ("red car", "blue car", "dark blue car", "7")

NAMED = {
    "B": ["B", "b", "b.", " B\n", "(B)", "**B**", "[B]", "<B>", "B.", "\\boxed{B}"],
    "A": ["(A)", "A because it is red", "The answer is A because it is red", "A. red car",
          "Red car.", "the red car", "It must be the red car!", "the correct option is (A)"],
    "C": ["the answer is: (C).", "dark blue car", "I think it is a dark blue car", "Option C",
          "The answer is A. Wait, the answer is C.", "The choice is **C**",
          "Answer: option C", "I would say (C)", "C seems right", "C: dark blue car",
          "C) since A is wrong", "Best answer: C\n\nExplanation: A is out of the picture."],
    "D": ["seven", "7", "7.", "D. 7", "The answer: D"],
}  # fmt: skip

NONE_OR_MANY = ["", "   ", "E", "I don't know", "A man walks", "A or B", "A, B", "(A) or (C)",
                "A. red car B. blue car", "red car or 7", "car", "The answer is"]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "letter"), [(answer, letter) for letter in NAMED for answer in NAMED[letter]]
)
def test_an_answer_that_names_an_option(answer: str, letter: str) -> None:
    assert extract_letter(answer, CHOICES) == letter


@pytest.mark.parametrize("answer", NONE_OR_MANY)
def test_an_answer_that_names_none_or_many_has_chosen_none(answer: str) -> None:
    assert extract_letter(answer, CHOICES) is None


def test_a_letter_beyond_the_options_is_none() -> None:
    assert extract_letter("C", ("yes", "no")) is None
    assert extract_letter("The answer is C", ("yes", "no")) is None


def test_options_of_one_text_are_not_told_apart_by_it() -> None:
    assert extract_letter("red", ("red", "red", "blue")) is None
    assert extract_letter("B", ("red", "red", "blue")) == "B"


@given(st.text(), st.lists(st.text(min_size=1), max_size=6))
def test_any_text_gives_an_existing_option_or_none(answer: str, choices: list[str]) -> None:
    letter = extract_letter(answer, choices)
    assert letter is None or letter in "ABCDEF"[: len(choices)]


def a_sample(target: str) -> Sample:
    return Sample(id="1", media=(), question="?", choices=CHOICES, target=target, group="g")


def test_no_answer_is_wrong_and_no_right_answer_is_unscored() -> None:
    right, wrong, silent = (score_choice(a_sample("B"), text) for text in ("(B)", "C", "hm"))
    assert [score.value for score in (right, wrong, silent)] == [1.0, 0.0, 0.0]
    assert [score.extracted for score in (right, wrong, silent)] == ["B", "C", None]
    for target in ("E", "blue car", "", "AB"):
        assert score_choice(a_sample(target), "B").value is None
