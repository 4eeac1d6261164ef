"""Our ROUGE-L beside Google's rouge_score."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from encodeonce.datasets.metrics.rouge import rouge_l

TEXTS = st.lists(
    st.sampled_from(["a", "cat", "Cat", "sat", "on", "3.5", "mat.", "-", "naïve", "don't", "猫"]),
    max_size=14,
).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_it_is_rouge_scores_f_measure(prediction: str, reference: str) -> None:
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    theirs = scorer.score(reference, prediction)["rougeL"].fmeasure
    assert rouge_l(prediction, reference) == pytest.approx(theirs, abs=1e-12)
