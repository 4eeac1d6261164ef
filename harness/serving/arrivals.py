"""When requests arrive. What they ask about is drawn apart, so rates share their questions."""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from encodeonce.harness.serving.loads import (
    Arrivals,
    ClosedArrivals,
    ConstantArrivals,
    GammaArrivals,
    PoissonArrivals,
    TraceArrivals,
)
from encodeonce.harness.serving.request import Demand, Request
from encodeonce.harness.serving.trace import TraceRow, read_trace


class Source(Protocol):
    """Requests in order of arrival."""

    def due(self, now_s: float) -> Iterator[Request]:
        """Yield those that have arrived since the last call."""
        ...

    def next_s(self) -> float:
        """Return when the next one arrives; infinity if none does, as far as is known."""
        ...

    def ended(self, request: Request) -> None:
        """Take note that a request has ended, at its ``ended_s``."""
        ...


class OpenSource:
    """Requests that arrive whatever becomes of the others."""

    def __init__(self, arrivals_s: Sequence[float], demands: Sequence[Demand]) -> None:
        """Take times in ascending order, and what each request asks for."""
        self._left = [
            Request(number=number, arrival_s=at_s, demand=demand)
            for number, (at_s, demand) in enumerate(zip(arrivals_s, demands, strict=True))
        ][::-1]

    def due(self, now_s: float) -> Iterator[Request]:
        """Yield those that have arrived."""
        while self._left and self._left[-1].arrival_s <= now_s:
            yield self._left.pop()

    def next_s(self) -> float:
        """Return when the next one arrives."""
        return self._left[-1].arrival_s if self._left else math.inf

    def ended(self, request: Request) -> None:
        """Do nothing."""


class ClosedSource:
    """Users who each ask again, some time after they were answered."""

    def __init__(self, demands: Sequence[Demand], concurrency: int, think_s: float) -> None:
        """Let all users ask at 0."""
        self._demands = demands
        self._think_s = think_s
        self._times_s = [0.0] * min(concurrency, len(demands))
        self._next = 0

    def due(self, now_s: float) -> Iterator[Request]:
        """Yield those that have arrived."""
        while self._times_s and self._times_s[0] <= now_s:
            at_s = self._times_s.pop(0)
            yield Request(number=self._next, arrival_s=at_s, demand=self._demands[self._next])
            self._next += 1

    def next_s(self) -> float:
        """Return when the next user asks."""
        return self._times_s[0] if self._times_s else math.inf

    def ended(self, request: Request) -> None:
        """Let its user ask again, unless all has been asked."""
        assert request.ended_s is not None
        if self._next + len(self._times_s) < len(self._demands):
            self._times_s.append(request.ended_s + self._think_s)
            self._times_s.sort()


def arrival_times_s(arrivals: Arrivals) -> list[float]:
    """Return when requests arrive, seconds; of a load with a single rate that is not closed.

    Gaps of mean 1 / rate: constant; exponential; or Gamma with shape 1 / cv^2 and scale
    cv^2 / rate, whose coefficient of variation is cv.
    """
    if isinstance(arrivals, TraceArrivals):
        return [row.arrival_s for row in trace_rows(arrivals)]
    assert not isinstance(arrivals, ClosedArrivals), "users arrive when they are answered"
    (rate,) = arrivals.rate
    draws = np.random.default_rng([arrivals.seed, 0])
    count = arrivals.requests
    if isinstance(arrivals, ConstantArrivals):
        gaps = np.full(count, 1.0)
    elif isinstance(arrivals, PoissonArrivals):
        gaps = draws.exponential(1.0, count)
    else:
        assert isinstance(arrivals, GammaArrivals)
        square = arrivals.cv**2
        gaps = draws.gamma(1.0 / square, square, count)
    # Drawn at rate 1: at every rate the same pattern, faster.
    return [float(at) for at in np.cumsum(gaps) / rate]


def trace_rows(arrivals: TraceArrivals, adapters: str | None = None) -> list[TraceRow]:
    """Return the rows of a trace that are asked for, their times as fast as is asked for.

    Args:
        arrivals: with a single speed.
        adapters: see `read_trace`.

    Raises:
        ValueError: the file is no trace, or has no request in that part.
    """
    (speed,) = arrivals.speed
    end_s = math.inf if arrivals.duration_s is None else arrivals.start_s + arrivals.duration_s
    read = read_trace(arrivals.file, adapters)
    rows = [row for row in read if arrivals.start_s <= row.arrival_s < end_s]
    if not rows:
        raise ValueError(
            f"arrivals: {arrivals.file} has no request from second {arrivals.start_s:g} on"
            + (f" within {arrivals.duration_s:g} s" if arrivals.duration_s else "")
        )
    return [row.at((row.arrival_s - arrivals.start_s) / speed) for row in rows[: arrivals.requests]]


def choices(seed: int, count: int, num_samples: int) -> list[int]:
    """Return the number of the sample that each request asks about.

    All samples come up equally often, to within one: each round is a permutation.
    """
    draws = np.random.default_rng([seed, 1])
    rounds = [draws.permutation(num_samples) for _ in range(math.ceil(count / num_samples))]
    return [int(number) for number in np.concatenate(rounds)[:count]]
