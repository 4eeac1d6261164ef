"""What was measured of the stages of serving, and the coefficients that describe it."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from encodeonce.datasets.refusals import checked
from encodeonce.harness.bench.nnls import Floats, fit_relative, held_out_residual
from encodeonce.harness.serving.adapters.costs import AdapterCosts
from encodeonce.harness.serving.costs import VariantCosts

Clock = Literal["wall", "processor"]
CLOCKS: Mapping[Clock, Callable[[], float]] = {
    "wall": time.perf_counter,
    "processor": time.process_time,
}

Arguments = tuple[float, ...]


@dataclass(slots=True)
class Measured:
    """Seconds of one stage by its arguments: columns of the fit, but for the constant."""

    seconds: dict[Arguments, list[float]] = field(default_factory=dict)

    def add(self, arguments: Arguments, seconds: float) -> None:
        """Take another run's seconds."""
        self.seconds.setdefault(arguments, []).append(seconds)

    def points(self) -> tuple[Floats, Floats]:
        """Return (points, columns), the first of them 1, and the median seconds of each."""
        columns = [(1.0, *arguments) for arguments in self.seconds]
        medians = [statistics.median(some) for some in self.seconds.values()]
        return np.array(columns), np.array(medians)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPoints:
    """All measurements."""

    clock: Clock
    token_bytes: int
    stages: dict[str, Measured]
    """``fetch``, ``encode``, ``swap``; and stages of variants: ``VARIANT: prefill``."""
    variants: tuple[str, ...]
    shared: Mapping[str, str]
    """Which measurement is that of ``VARIANT: STAGE``."""
    adapters: AdapterCosts | None = None
    """Where the run file has any."""

    def coefficients(self, stage: str) -> tuple[float, ...]:
        """Return a stage's coefficients, none negative."""
        return tuple(float(one) for one in fit_relative(*self.stages[stage].points()))

    def residuals(self) -> dict[str, float]:
        """Return the largest relative error of each stage on points left out of the fit."""
        return {name: held_out_residual(*one.points()) for name, one in self.stages.items()}

    def points(self) -> dict[str, list[list[float]]]:
        """Return what was measured: arguments, then seconds."""
        return {
            name: [
                [*(float(one) for one in row[1:]), float(second)]
                for row, second in zip(*stage.points(), strict=True)
            ]
            for name, stage in self.stages.items()
        }

    def variant(self, name: str) -> VariantCosts:
        """Return the costs of a variant; without a stage that compresses, 0 for that."""
        found = {
            stage: self.coefficients(self.shared[f"{name}: {stage}"])
            for stage in ("prefill", "read", "compress", "decode")
            if f"{name}: {stage}" in self.shared
        }
        return checked(VariantCosts, {"compress": (0.0, 0.0), **found})
