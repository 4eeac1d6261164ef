"""Differences of two runs on the same samples, against hand-computed results."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encodeonce.harness.results.paired import holm, mcnemar_exact, paired_difference


def alone(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_independent_samples_give_bonett_and_prices_interval() -> None:
    # 100 samples: 20 got worse, 10 better. Squares about the mean -0.1 sum to 30 - 100 * 0.01 = 29,
    # single or by clusters; n = 100 / ((100 / 99 * 29 + 2) / (29 + 2)) = 99.06.
    first = [1.0] * 20 + [0.0] * 10 + [1.0] * 70
    second = [0.0] * 20 + [1.0] * 10 + [1.0] * 70
    found = paired_difference(first, second, alone(100))
    assert found is not None
    n = 100 * 31 / (2900 / 99 + 2)
    centre = n * -0.1 / (n + 2)
    half = 1.959964 * math.sqrt(((n * 0.3 + 2) / (n + 2) - centre**2) / (n + 2))
    assert (found.mean, found.num_worse, found.num_better) == (pytest.approx(-0.1), 20, 10)
    assert found.low == pytest.approx(centre - half)
    assert found.high == pytest.approx(centre + half)
    assert (found.low, found.high) == (
        pytest.approx(-0.2056, abs=1e-4),
        pytest.approx(0.0095, abs=1e-4),
    )


def test_many_samples_give_the_cluster_robust_standard_error() -> None:
    # 1000 clusters of 4: in 100 of them all four get worse. Cluster means are independent, so
    # the standard error is sqrt(0.1 * 0.9 / 1000) = 0.00949.
    first = [1.0] * 4000
    second = [0.0] * 400 + [1.0] * 3600
    found = paired_difference(first, second, [str(n // 4) for n in range(4000)])
    assert found is not None
    assert found.num_clusters == 1000
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.00949, rel=0.02)


def test_no_change_is_not_certainty() -> None:
    found = paired_difference([1.0, 0.0] * 30, [1.0, 0.0] * 30, [str(n // 2) for n in range(60)])
    assert found is not None
    # 30 clusters without a change: z sqrt(2) / 32.
    assert found.mean == 0.0
    assert found.high == pytest.approx(1.959964 * math.sqrt(2) / 32)
    assert found.low == pytest.approx(-found.high)
    assert found.mcnemar_p == 1.0


def test_a_first_change_does_not_make_the_interval_much_narrower() -> None:
    clusters = [str(n // 3) for n in range(108)]
    widths = []
    for num_better in (0, 1, 2, 5):
        first = [0.0] * num_better + [1.0] * (108 - num_better)
        found = paired_difference(first, [1.0] * 108, clusters)
        assert found is not None
        widths.append(found.high - found.low)
    assert min(widths) > 0.8 * widths[0]


def test_one_cluster_says_nearly_nothing() -> None:
    found = paired_difference([1.0] * 50, [0.0] * 25 + [1.0] * 25, ["one video"] * 50)
    assert found is not None
    assert found.num_clusters == 1
    assert found.low < -0.9 and found.high > 0.5


def test_no_samples_give_no_difference() -> None:
    assert paired_difference([], [], []) is None


@pytest.mark.parametrize(
    ("worse", "better", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (0, 5, 2 / 32),
        (1, 5, 2 * (1 + 6) / 64),
        (3, 3, 1.0),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemar_is_twice_the_tail_of_a_fair_coin(worse: int, better: int, p: float) -> None:
    assert mcnemar_exact(worse, better) == pytest.approx(p)
    assert mcnemar_exact(better, worse) == pytest.approx(p)


def test_mcnemar_of_many_flips_neither_overflows_nor_takes_long() -> None:
    # 10 000 : 10 400 is 2.8 standard deviations: normal approximation 0.0051.
    assert mcnemar_exact(10_000, 10_400) == pytest.approx(0.0052, abs=2e-4)


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from("abcde")),
        min_size=1,
        max_size=40,
    )
)
def test_the_interval_holds_the_mean_and_turns_with_the_order(
    rows: list[tuple[float, float, str]],
) -> None:
    first, second, clusters = (list(column) for column in zip(*rows, strict=True))
    forth = paired_difference(first, second, clusters)
    back = paired_difference(second, first, clusters)
    assert forth is not None and back is not None
    assert -1 <= forth.low <= forth.mean + 1e-9
    assert forth.mean - 1e-9 <= forth.high <= 1
    assert forth.low == pytest.approx(-back.high, abs=1e-9)
    assert (forth.num_worse, forth.mcnemar_p) == (back.num_better, back.mcnemar_p)


@pytest.mark.parametrize(
    ("given", "corrected"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.5], [1.0, 1.0]),
        ([0.04, 0.01, 0.02, 0.9], [0.08, 0.04, 0.06, 0.9]),
    ],
)
def test_holm_multiplies_by_what_is_left(given: list[float], corrected: list[float]) -> None:
    assert holm(given) == pytest.approx(corrected)
