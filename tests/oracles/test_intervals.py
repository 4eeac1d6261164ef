"""Our statistics beside scipy's and statsmodels', on data drawn at random with fixed seeds."""

import numpy as np
import pytest
import statsmodels.api as api
from scipy import stats as scipy_stats
from statsmodels.stats import contingency_tables as contingency
from statsmodels.stats import multitest, proportion

from encodeonce.harness.results.intervals import Z_95, Z_ONE_SIDED_95, clustered_mean
from encodeonce.harness.results.paired import holm, mcnemar_exact, paired_difference

# formulaic, which statsmodels imports, and numpy's own moves.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")


def test_quantiles_are_those_of_the_normal_distribution() -> None:
    assert pytest.approx(scipy_stats.norm.ppf(0.975), abs=1e-6) == Z_95
    assert pytest.approx(scipy_stats.norm.ppf(0.95), abs=1e-6) == Z_ONE_SIDED_95


@pytest.mark.parametrize("n", [1, 2, 7, 60, 1000])
def test_without_clusters_the_interval_is_wilsons(n: int) -> None:
    for right in {0, 1, n // 3, n - 1, n}:
        scores = [1.0] * right + [0.0] * (n - right)
        found = clustered_mean(scores, [str(number) for number in range(n)])
        assert found is not None
        low, high = proportion.proportion_confint(right, n, method="wilson")
        # The variance among n clusters is n / (n - 1) of that of n samples: as many as n - 1.
        if 0 < right < n:
            share = right / n
            low, high = proportion.proportion_confint(share * (n - 1), n - 1, method="wilson")
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6), (right, n)


@pytest.mark.parametrize("seed", range(5))
def test_the_design_effect_is_that_of_cluster_robust_errors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(40), rng.integers(1, 9, size=40))
    chance = rng.uniform(0.1, 0.9, size=40)[clusters]
    scores = (rng.uniform(size=len(clusters)) < chance).astype(float)
    model = api.OLS(scores, np.ones((len(scores), 1)))
    robust = model.fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False})
    error = robust.bse[0] * np.sqrt(40 / 39)
    mean = scores.mean()
    n = min(len(scores), mean * (1 - mean) / error**2)
    found = clustered_mean(scores.tolist(), [str(one) for one in clusters])
    assert found is not None and found.num_clusters == 40
    low, high = proportion.proportion_confint(mean * n, n, method="wilson")
    assert (found.mean, found.low, found.high) == pytest.approx((mean, low, high), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_with_many_changes_paired_intervals_are_cluster_robust(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(500), 4)
    shift = rng.normal(0, 0.2, size=500)[clusters]
    first = rng.integers(0, 2, size=2000).astype(float)
    flips = rng.uniform(size=2000) < np.clip(0.4 + shift, 0, 1)
    second = np.where(flips, 1 - first, first)
    found = paired_difference(first.tolist(), second.tolist(), [str(one) for one in clusters])
    assert found is not None
    model = api.OLS(second - first, np.ones((2000, 1)))
    robust = model.fit(cov_type="cluster", cov_kwds={"groups": clusters})
    (low, high), width = robust.conf_int()[0], found.high - found.low
    # Ours never takes clusters for better than independence, and adds two samples.
    assert found.mean == pytest.approx(robust.params[0], abs=1e-12)
    assert width >= 0.97 * (high - low)
    alone = scipy_stats.sem(second - first) * 2 * Z_95
    assert width == pytest.approx(max(high - low, alone), rel=0.03)


@pytest.mark.parametrize("worse", [0, 1, 3, 10, 47])
@pytest.mark.parametrize("better", [0, 1, 4, 10, 300])
def test_mcnemar_is_statsmodels_and_the_sign_test_scipys(worse: int, better: int) -> None:
    found = mcnemar_exact(worse, better)
    table = [[5, worse], [better, 5]]
    assert found == pytest.approx(contingency.mcnemar(table, exact=True).pvalue, rel=1e-9)
    if worse + better:
        test = scipy_stats.binomtest(worse, worse + better, 0.5)
        assert found == pytest.approx(test.pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_statsmodels(seed: int) -> None:
    p_values = np.random.default_rng(seed).uniform(0, 0.2, size=9).round(2).tolist()  # with ties
    _, corrected, _, _ = multitest.multipletests(p_values, method="holm")
    assert holm(p_values) == pytest.approx(corrected.tolist(), abs=1e-12)
