"""The difference between two ways of answering the same samples, and whether it may be chance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from encodeonce.harness.results.intervals import Z_95


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """The mean of second minus first over samples answered in both, with its 95 % interval."""

    mean: float
    low: float
    high: float
    num_samples: int
    num_clusters: int
    num_worse: int
    """Samples on which the second scores less than the first."""
    num_better: int
    """Samples on which the second scores more than the first."""
    mcnemar_p: float
    """Two-sided p of the exact McNemar test, see `mcnemar_exact`."""


def paired_difference(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[str]
) -> PairedDifference | None:
    """Compare two scores in [0, 1] of each sample.

    With d the differences, their mean m and q the mean of their squares, and n the effective
    number of samples, the interval is that of Bonett and Price (Adjusted Wald confidence interval
    for a difference of binomial proportions based on paired data, 2012), which adds one sample
    that got better and one that got worse::

        centre = n m / (n + 2)
        half   = z sqrt((n q + 2) / (n + 2) - centre^2) / sqrt(n + 2)

    n is N samples over the design effect of G clusters with residual sums R, in which the two
    added samples count as wholly dependent on their clusters, of mean size N / G, so that few
    changes do not pass for proof of independence::

        n = N / max(1, (G / (G - 1) sum(R^2) + 2 N / G) / (sum((d - m)^2) + 2))

    With many changes that is the mean plus or minus z cluster-robust standard errors (Miller,
    Adding error bars to evals, 2024). Unlike that it is not a point when no answer changed: then
    each cluster counts as one sample. A single cluster counts as one sample, whatever changed.

    Args:
        first: each sample's score, answered one way.
        second: its score, answered the other way.
        clusters: what each sample shares with others, e.g. its video.

    Returns:
        None if there are no samples.
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    if not differences:
        return None
    mean = sum(differences) / len(differences)
    residuals: dict[str, float] = {}
    for difference, cluster in zip(differences, clusters, strict=True):
        residuals[cluster] = residuals.get(cluster, 0.0) + difference - mean
    low, high = _interval(differences, mean, _effective_samples(differences, mean, residuals))
    num_worse = sum(difference < 0 for difference in differences)
    num_better = sum(difference > 0 for difference in differences)
    return PairedDifference(
        mean=mean,
        low=low,
        high=high,
        num_samples=len(differences),
        num_clusters=len(residuals),
        num_worse=num_worse,
        num_better=num_better,
        mcnemar_p=mcnemar_exact(num_worse, num_better),
    )


def mcnemar_exact(num_worse: int, num_better: int) -> float:
    """Return the two-sided p-value: how likely chance splits the changed samples as unevenly.

    Twice the smaller tail of a fair binomial (McNemar, Note on the sampling error of the
    difference between correlated proportions, 1947; exact form). For scores between 0 and 1 it is
    the sign test. It assumes independent samples: with many questions per video, p is too small.
    """
    num_changed = num_worse + num_better
    ways, tail = 1, 0  # `ways` to choose k of the changed samples
    for k in range(min(num_worse, num_better) + 1):
        tail += ways
        ways = ways * (num_changed - k) // (k + 1)
    # Integers: their quotient is rounded once, and no power of two overflows.
    return min(1.0, 2 * tail / (1 << num_changed))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values of several comparisons, corrected so that one false find is as unlikely.

    Holm, A simple sequentially rejective multiple test procedure, 1979: the k-th smallest of n is
    multiplied by n - k + 1, and none is smaller than one before it. Whatever depends on what.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    found = [1.0] * len(p_values)
    highest = 0.0
    for k, n in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - k) * p_values[n]))
        found[n] = highest
    return found


def _effective_samples(
    differences: Sequence[float], mean: float, residuals: Mapping[str, float]
) -> float:
    num_samples, num_clusters = len(differences), len(residuals)
    if num_clusters < 2:
        return 1.0
    alone = sum((difference - mean) ** 2 for difference in differences) + 2
    together = sum(total**2 for total in residuals.values())
    together *= num_clusters / (num_clusters - 1)
    together += 2 * num_samples / num_clusters
    return num_samples / max(1.0, together / alone)


def _interval(differences: Sequence[float], mean: float, n: float) -> tuple[float, float]:
    mean_square = sum(difference**2 for difference in differences) / len(differences)
    centre = n * mean / (n + 2)
    half = Z_95 * math.sqrt(((n * mean_square + 2) / (n + 2) - centre**2) / (n + 2))
    return max(-1.0, centre - half), min(1.0, centre + half)
