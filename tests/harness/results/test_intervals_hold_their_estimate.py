"""An interval holds its estimate, as computed and as shown, whatever was counted."""

from collections.abc import Sequence
from dataclasses import asdict

import pytest

from encodeonce.harness.report.numbers import percent
from encodeonce.harness.results.intervals import clustered_mean
from encodeonce.harness.results.paired import paired_difference

MOST = 200


def shown(fraction: float) -> float:
    return float(percent(fraction, 1).removesuffix(" %"))


def hold(scores: Sequence[float], clusters: Sequence[str]) -> None:
    found = clustered_mean(scores, clusters)
    assert found is not None
    about = f"{sum(scores):g} of {len(scores)} in {len(set(clusters))}"
    assert 0 <= found.low <= found.mean <= found.high <= 1, about
    assert shown(found.low) <= shown(found.mean) <= shown(found.high), about


@pytest.mark.parametrize("size", [1, 3, 7, MOST])
def test_every_count_of_every_number_of_samples(size: int) -> None:
    """``size`` samples share a video; the right ones come first, so most videos agree."""
    for n in range(1, MOST + 1):
        clusters = [str(number // size) for number in range(n)]
        for k in range(n + 1):
            hold([1.0] * k + [0.0] * (n - k), clusters)


@pytest.mark.parametrize("score", [0.1, 0.3, 1 / 3, 0.7, 0.9999999])
def test_equal_scores_between_wrong_and_right(score: float) -> None:
    for n in range(1, MOST + 1):
        hold([score] * n, [str(number // 2) for number in range(n)])


@pytest.mark.parametrize(
    ("num_right", "num_samples", "words"),
    [(12, 12, ("100.0 %", "100.0 %")), (0, 18, ("0.0 %", "0.0 %"))],
)
def test_all_right_and_all_wrong_reach_the_end(
    num_right: int, num_samples: int, words: tuple[str, str]
) -> None:
    scores = [1.0] * num_right + [0.0] * (num_samples - num_right)
    found = asdict(clustered_mean(scores, [str(n // 3) for n in range(num_samples)]))  # type: ignore[arg-type]
    end = "high" if num_right else "low"
    assert (percent(found["mean"], 1), percent(found[end], 1)) == words


@pytest.mark.parametrize("difference", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("size", [1, 4])
def test_a_paired_difference_is_in_its_interval(difference: float, size: int) -> None:
    for n in range(1, MOST + 1):
        first = [float(difference < 0)] * n
        second = [score + difference for score in first]
        found = paired_difference(first, second, [str(number // size) for number in range(n)])
        assert found is not None
        assert found.low <= found.mean == difference <= found.high
