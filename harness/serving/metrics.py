"""Latencies, throughput and goodput of a workload, by the field's definitions.

A token's time is the end of the action that computed it. With t_1 ... t_n a request's tokens, a its
arrival::

    TTFT = t_1 - a        TPOT = (t_n - t_1) / (n - 1), n > 1        E2E = t_n - a
    ITL: all t_i - t_(i-1)        normalised latency = E2E / n

TTFT contains queueing, encoding and prefill. Goodput (Zhong et al., DistServe, OSDI 2024) is the
number of requests per second that meet all objectives, attainment their fraction; a request that
failed meets none. Percentiles are numpy's, linear.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from encodeonce.harness.serving.specs import SLO

STEADY = 2.0
"""A queue that grows beyond so many times its length is not steady."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a cell's file keeps of one request. Times are seconds since the workload began."""

    number: int
    sample: str
    arrival_s: float
    queue_length: int
    """Requests that waited when it arrived."""
    first_s: float | None
    """Time of the first token."""
    gaps_s: Sequence[float] = ()
    """From each token to the next."""
    queue_s: Mapping[str, float]
    """Waited before each stage."""
    stage_s: Mapping[str, float]
    """Of the actions that it was part of."""
    num_preempted: int = 0
    is_hit: bool = False
    error: str | None = None
    text: str | None = None
    """Its answer, where one was written."""
    token_ids: Sequence[int] = ()

    @property
    def ttft_s(self) -> float:
        """Time to first token."""
        assert self.first_s is not None
        return self.first_s - self.arrival_s

    @property
    def num_tokens(self) -> int:
        """Of the answer."""
        return 0 if self.first_s is None else 1 + len(self.gaps_s)

    @property
    def tpot_s(self) -> float | None:
        """Mean time per token after the first; None for an answer of one token."""
        return sum(self.gaps_s) / len(self.gaps_s) if self.gaps_s else None

    @property
    def e2e_s(self) -> float:
        """From arrival to last token."""
        return self.ttft_s + sum(self.gaps_s)

    def meets(self, slo: SLO) -> bool:
        """Return whether all objectives are met."""
        if self.error is not None or self.first_s is None:
            return False
        return self.ttft_s <= slo.ttft_s and (self.tpot_s or 0.0) <= slo.tpot_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A quantity over requests or tokens."""

    mean: float
    p50: float
    p90: float
    p99: float
    count: int


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and percentiles; None of nothing."""
    if not values:
        return None
    p50, p90, p99 = (float(one) for one in np.percentile(values, (50, 90, 99)))
    return Spread(mean=sum(values) / len(values), p50=p50, p90=p90, p99=p99, count=len(values))


def summarize(requests: Sequence[Served], slo: SLO, warmup: int) -> dict[str, Any]:
    """Return the metrics of a workload as plain JSON values.

    Args:
        requests: all, in order of number.
        slo: the objectives.
        warmup: how many of the first are part of the load only.
    """
    counted = [one for one in requests if one.number >= warmup]
    done = [one for one in counted if one.error is None]
    first_s = min((one.arrival_s for one in counted), default=0.0)
    last_s = max((one.arrival_s + one.e2e_s for one in done), default=first_s)
    duration_s = last_s - first_s
    num_good = sum(one.meets(slo) for one in counted)
    num_tokens = sum(one.num_tokens for one in done)

    def rate(count: float) -> float:
        return count / duration_s if duration_s > 0 else 0.0

    return {
        "num_requests": len(counted),
        "num_failed": len(counted) - len(done),
        "errors": dict(Counter(one.error for one in counted if one.error is not None)),
        "duration_s": duration_s,
        "attainment": num_good / len(counted) if counted else 0.0,
        "goodput": rate(num_good),
        "requests_per_s": rate(len(done)),
        "tokens_per_s": rate(num_tokens),
        "ttft_s": _spread([one.ttft_s for one in done]),
        "tpot_s": _spread([one.tpot_s for one in done if one.tpot_s is not None]),
        "itl_s": _spread([gap for one in done for gap in one.gaps_s]),
        "e2e_s": _spread([one.e2e_s for one in done]),
        "normalised_s": _spread([one.e2e_s / one.num_tokens for one in done]),
        "queue_s": _means([one.queue_s for one in done]),
        "stage_s": _means([one.stage_s for one in done]),
        "saturated": is_saturated([one.queue_length for one in counted]),
    }


def is_saturated(lengths: Sequence[int]) -> bool:
    """Return whether a queue grew throughout: its mean length at the arrivals of the last quarter.

    It is more than twice that of the second quarter, and more than one request.

    Args:
        lengths: of the queue at each arrival.
    """
    quarter = len(lengths) // 4
    if quarter == 0:
        return False
    second = sum(lengths[quarter : 2 * quarter]) / quarter
    last = sum(lengths[-quarter:]) / quarter
    return last > 1.0 and last > STEADY * second


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    found = spread(values)
    return None if found is None else asdict(found)


def _means(by_stage: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over requests of the seconds by stage; 0 where one had none."""
    stages = dict.fromkeys(stage for one in by_stage for stage in one)
    return {stage: sum(one.get(stage, 0.0) for one in by_stage) / len(by_stage) for stage in stages}
