"""Accuracy with an interval that accounts for the dependence of questions on one video."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959964
"""0.975 quantile of the normal distribution."""
Z_ONE_SIDED_95 = 1.644854
"""0.95 quantile of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean score with its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    num_samples: int
    num_clusters: int


def clustered_mean(
    scores: Sequence[float], clusters: Sequence[str], z: float = Z_95
) -> Estimate | None:
    """Return the mean of scores in [0, 1], with a 95 % interval clustered by ``clusters``.

    A Wilson score interval on the effective number of samples, n divided by the design effect
    (Korn and Graubard, Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data, 1998): unlike mean plus or minus two standard errors it
    stays within [0, 1], and is not a point when every answer is right. Then the design effect
    cannot be measured, and each cluster counts as one sample.

    With another ``z``, an interval of that quantile: from `Z_ONE_SIDED_95`, the lower end is a
    one-sided 95 % bound. Returns None if there are no scores.
    """
    n = len(scores)
    if n == 0:
        return None
    mean = sum(scores) / n
    residuals: dict[str, float] = {}
    for score, cluster in zip(scores, clusters, strict=True):
        residuals[cluster] = residuals.get(cluster, 0.0) + score - mean
    num_clusters = len(residuals)
    n_effective = _effective_samples(scores, mean, residuals)
    low, high = _wilson(mean, n_effective, z)
    return Estimate(mean=mean, low=low, high=high, num_samples=n, num_clusters=num_clusters)


def _effective_samples(scores: Sequence[float], mean: float, residuals: dict[str, float]) -> float:
    """Return n over the design effect, between the number of clusters' worth of 1 and n."""
    n, num_clusters = len(scores), len(residuals)
    independent = sum((score - mean) ** 2 for score in scores) / (n * n)
    if independent == 0.0 or num_clusters < 2:
        return float(num_clusters)
    clustered = sum(total**2 for total in residuals.values()) / (n * n)
    clustered *= num_clusters / (num_clusters - 1)
    return min(float(n), n * independent / clustered) if clustered > 0 else float(n)


def _wilson(mean: float, n: float, z: float) -> tuple[float, float]:
    """Wilson, Probable inference, the law of succession, and statistical inference, 1927."""
    z2 = z * z
    centre = (mean + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(mean * (1 - mean) / n + z2 / (4 * n * n))
    # With all right or all wrong an end is the mean itself, which rounding may miss by 1e-16;
    # enough to show it as 99.9 %, beside a mean of 100.0 %.
    return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))
