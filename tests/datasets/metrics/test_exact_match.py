"""Exact match after VQA's normalisation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encodeonce.datasets.metrics.exact_match import normalise, score_exact_match
from encodeonce.datasets.sample import Sample

SAME = [
    ("The cat.", "cat"),
    ("two", "2"),
    ("Ten", "10"),
    ("none", "0"),
    ("1,000", "1000"),
    ("don't", "dont"),
    ("well-known", "well known"),
    ("ｆｕｌｌ　width", "full width"),
    ("an  umbrella\n", "Umbrella!"),
    ("7.", "seven"),
]

DIFFERENT = [("3.5", "35"), ("-2", "2"), ("10:30", "1030"), ("cat", "cats"), ("1,5", "15")]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_after_normalisation(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_not_the_same(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text(st.characters(codec="ascii")))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_a_lone_article_stays() -> None:
    assert normalise("A") == "a"


def a_sample(target: str) -> Sample:
    return Sample(id="1", media=(), question="?", target=target, group="g")


def test_no_answer_is_wrong_and_no_right_answer_is_unscored() -> None:
    assert score_exact_match(a_sample("7"), " Seven. ").value == 1.0
    assert score_exact_match(a_sample("7"), "eight").value == 0.0
    silent = score_exact_match(a_sample("7"), " ... ")
    assert (silent.value, silent.extracted) == (0.0, None)
    assert score_exact_match(a_sample("?"), "7").value is None
