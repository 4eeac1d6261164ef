"""Intervals for accuracies of questions that share a video."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encodeonce.harness.results.intervals import clustered_mean


def test_independent_samples_give_the_wilson_interval() -> None:
    # 80 of 100, each its own cluster: Wilson's interval is (0.7112, 0.8666).
    scores = [1.0] * 80 + [0.0] * 20
    estimate = clustered_mean(scores, [str(n) for n in range(100)])
    assert estimate is not None
    assert estimate.mean == pytest.approx(0.8)
    # n / (n - 1) of the clustered variance makes it a little wider.
    assert estimate.low == pytest.approx(0.7112, abs=2e-3)
    assert estimate.high == pytest.approx(0.8666, abs=2e-3)


def test_questions_that_fail_together_widen_the_interval() -> None:
    scores = [1.0] * 60 + [0.0] * 40
    alone = clustered_mean(scores, [str(n) for n in range(100)])
    together = clustered_mean(scores, [str(n // 10) for n in range(100)])
    assert alone is not None and together is not None
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_all_right_is_not_certainty() -> None:
    estimate = clustered_mean([1.0] * 30, [str(n // 3) for n in range(30)])
    assert estimate is not None
    assert estimate.high == pytest.approx(1.0)
    # Ten clusters that all agree: the lower end is Wilson's for 10 of 10.
    assert estimate.low == pytest.approx(0.7225, abs=1e-3)


def test_no_scores_give_no_estimate() -> None:
    assert clustered_mean([], []) is None


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abcde")), min_size=1, max_size=40),
)
def test_the_interval_holds_the_mean_and_stays_within_bounds(
    pairs: list[tuple[float, str]],
) -> None:
    estimate = clustered_mean([score for score, _ in pairs], [name for _, name in pairs])
    assert estimate is not None
    assert 0 <= estimate.low <= estimate.mean + 1e-9
    assert estimate.mean - 1e-9 <= estimate.high <= 1
