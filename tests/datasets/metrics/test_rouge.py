"""ROUGE-L, in both of the definitions in use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encodeonce.datasets.metrics.rouge import rouge_l, rouge_l_legacy

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d."]), min_size=1, max_size=12).map(" ".join)


def test_f1_of_the_longest_common_subsequence() -> None:
    # Lin 2004, section 2.2: "police killed the gunman" has 3 tokens in order, then 2.
    reference = "Police killed the gunman."
    assert rouge_l("police kill the gunman", reference) == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", reference) == pytest.approx(2 / 4)
    # 2 of 3 tokens predicted, 2 of 5 referred to: 2 * 2 / (3 + 5)
    assert rouge_l("a x c", "a b c d e") == pytest.approx(0.5)


def test_tokens_are_runs_of_letters_and_digits_in_lower_case() -> None:
    assert rouge_l("The CAT's 3.5", "the cat s 3 5") == 1.0


@pytest.mark.parametrize("text", ["", " ", "...", "猫"])
def test_a_text_without_tokens_scores_zero(text: str) -> None:
    assert rouge_l(text, "cat") == rouge_l("cat", text) == rouge_l(text, text) == 0.0


@given(WORDS, WORDS)
def test_it_is_symmetric_and_one_for_the_same_text(one: str, other: str) -> None:
    assert rouge_l(one, other) == pytest.approx(rouge_l(other, one))
    assert rouge_l(one, one) == 1.0


# Computed with the package itself, rouge 1.0.1.
LEGACY = [
    ("a cat sat on the mat", "the cat sat on a mat", 0.6666666616666668),
    ("The cat. A dog.", "the cat. a dog.", 0.4999999950000001),
    ("x y. z", "z. x y", 0.999999995),
    ("red car " * 20, "red car", 0.999999995),
    ("a b c d. a c", "a c e. d f", 0.6666666617283951),
]


@pytest.mark.parametrize(("prediction", "reference", "expected"), LEGACY)
def test_the_legacy_value_is_the_packages(prediction: str, reference: str, expected: float) -> None:
    assert rouge_l_legacy(prediction, reference) == pytest.approx(expected, abs=1e-15)


def test_the_legacy_value_by_hand() -> None:
    # Sentences "a b" and "c" against "a c": the union of common words is {a, c}.
    precision, recall = 2 / 3, 2 / 2
    expected = 2 * precision * recall / (precision + recall + 1e-8)
    assert rouge_l_legacy("a b. c", "a c") == pytest.approx(expected, abs=1e-15)


def test_the_legacy_value_does_not_see_repetition() -> None:
    looping, phrase = "a red car " * 20, "a red car"
    assert rouge_l(looping, phrase) == pytest.approx(2 * 3 / 63)
    assert rouge_l_legacy(looping, phrase) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", "...", "."])
def test_the_legacy_value_of_no_text_is_zero(text: str) -> None:
    assert rouge_l_legacy(text, "cat") == rouge_l_legacy("cat", text) == 0.0
