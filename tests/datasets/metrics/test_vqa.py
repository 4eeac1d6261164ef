"""Scores of free answers, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encodeonce.datasets.metrics.vqa import VqaMetric, score_vqa

CASES: list[tuple[VqaMetric, list[str], str, float]] = [
    ("exact", ["two"], "2.", 1.0),
    ("exact", ["red", "blue"], "The Blue", 1.0),
    ("exact", ["red"], "blue", 0.0),
    ("accuracy", ["Left"], " left ", 1.0),
    ("accuracy", ["left"], "left.", 0.0),
    # Left out any of the 9 others, one person agrees; left out that one, nobody does.
    ("vqa_score", ["cat"] + ["dog"] * 9, "cat", 9 * (1 / 3) / 10),
    ("vqa_score", ["cat"] + ["dog"] * 9, "dog", 1.0),
    ("vqa_score", ["cat"] * 3 + ["dog"] * 7, "cat", (3 * (2 / 3) + 7) / 10),
    ("vqa_score", ["cat"], "cat", 1.0),
    # One letter of six differs.
    ("anls", ["letter"], "Setter", 1 - 1 / 6),
    ("anls", ["letter"], "latex", 0.5),  # two letters replaced, one removed
    ("anls", ["letter"], "word", 0.0),
    ("anls", ["x", "letter"], "letters", 1 - 1 / 7),
    ("relaxed_accuracy", ["100"], "105", 1.0),
    ("relaxed_accuracy", ["100"], "105.1", 0.0),
    ("relaxed_accuracy", ["0.5"], "51%", 1.0),
    ("relaxed_accuracy", ["0"], "0.0", 0.0),  # no relative error of nothing: the texts differ
    ("relaxed_accuracy", ["Yes"], "yes", 1.0),
    ("relaxed_accuracy", ["100"], "hundred", 0.0),
]


@pytest.mark.parametrize(("metric", "references", "answer", "value"), CASES)
def test_scores(metric: VqaMetric, references: list[str], answer: str, value: float) -> None:
    assert score_vqa(metric, references, answer) == pytest.approx(value)


@pytest.mark.parametrize("metric", ["exact", "vqa_score", "anls", "relaxed_accuracy", "accuracy"])
def test_no_answer_scores_zero(metric: VqaMetric) -> None:
    assert score_vqa(metric, ["", "x"], " ") == 0.0


@given(st.text("ab ", min_size=1), st.text("ab ", min_size=1))
def test_anls_is_within_bounds_and_one_for_the_same_text(one: str, other: str) -> None:
    assert 0.0 <= score_vqa("anls", [one], other) <= 1.0
    if one.strip():
        assert score_vqa("anls", [one], one) == 1.0
