"""Serves the cells of a grid, one after another; finished ones are read back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from encodeonce.harness.run.variant import Variant
from encodeonce.harness.serving.adapters.modes import Terms
from encodeonce.harness.serving.answered import Answered
from encodeonce.harness.serving.arrivals import Source
from encodeonce.harness.serving.cells import (
    Cell,
    Outcome,
    cells_of,
    meaning,
    read_cell,
    served,
    write_cell,
)
from encodeonce.harness.serving.config import Experiment, ServeConfig
from encodeonce.harness.serving.costs import Costs
from encodeonce.harness.serving.engine import Clock, Engine, VirtualClock
from encodeonce.harness.serving.ledger import Ledger
from encodeonce.harness.serving.loads import Arrivals, TraceArrivals
from encodeonce.harness.serving.monitor import Monitor, Probe
from encodeonce.harness.serving.policy import lora_kind, make_policy
from encodeonce.harness.serving.request import Request
from encodeonce.harness.serving.scheduler import Scheduler
from encodeonce.harness.serving.simulated import SimulatedEngine
from encodeonce.harness.serving.totals import Totals
from encodeonce.harness.serving.workload import Workload, check_fits, make_workload


class Server(Protocol):
    """Makes the engine of a cell."""

    token_bytes: int
    """Keys and values of one token, uncompressed."""
    notes: Sequence[str]
    """Sentences for the report."""

    def identity(self, variant: Variant) -> Any:
        """Return what the engine's seconds depend on, as plain JSON values."""
        ...

    def serve(
        self, cell: Cell, workload: Workload, monitor: Monitor
    ) -> tuple[list[Request], Totals]:
        """Serve a cell; return its requests, in order of number."""
        ...

    def answer(self, request: Request) -> tuple[str | None, Sequence[int]]:
        """Return the text and the tokens of a request that has ended, where they are written."""
        ...

    def probe(self) -> Probe | None:
        """Return what watches the machine; None where nothing is computed."""
        ...


class VirtualServer:
    """Engines that compute nothing but seconds."""

    notes: Sequence[str] = ()

    def __init__(self, config: ServeConfig, costs: Costs) -> None:
        """Take the costs that the run file names."""
        self._config, self._costs = config, costs
        self.token_bytes = costs.token_bytes

    def identity(self, variant: Variant) -> Any:
        """Return the costs."""
        included = {"fetch", "encode", "swap"} | ({"adapters"} if self._config.adapters else set())
        common = self._costs.model_dump(mode="json", include=included)
        return {"virtual": self._costs.of(variant.name).model_dump(mode="json"), **common}

    def serve(
        self, cell: Cell, workload: Workload, monitor: Monitor
    ) -> tuple[list[Request], Totals]:
        """Add up seconds."""
        engine = simulated(self._config, cell.experiment, self._costs)
        terms = terms_of(self._config, self._costs)
        source = workload.source()
        return schedule(self._config, cell, source, engine, VirtualClock(), monitor, terms)

    def answer(self, request: Request) -> tuple[str | None, Sequence[int]]:
        """Return nothing: what would be answered is known from elsewhere."""
        return None, ()

    def probe(self) -> Probe | None:
        """Return nothing."""
        return None


def simulated(config: ServeConfig, experiment: Experiment, costs: Costs) -> SimulatedEngine:
    """Return an engine that knows what an experiment's actions cost."""
    return SimulatedEngine(
        costs,
        experiment.variant.name,
        encodes=config.features == "encode",
        lora=lora_kind(config.policy_of(experiment)),
    )


def schedule(
    config: ServeConfig,
    cell: Cell,
    source: Source,
    engine: Engine,
    clock: Clock,
    monitor: Monitor,
    terms: Terms | None = None,
) -> tuple[list[Request], Totals]:
    """Serve a cell by our own scheduler."""
    experiment = cell.experiment
    scheduler = Scheduler(
        source,
        engine,
        make_policy(config.policy_of(experiment)),
        clock,
        cell.limits,
        monitor,
        preempt=config.preempt_of(experiment),
        shares_prefixes=config.shares_prefixes(experiment),
        terms=terms,
    )
    return scheduler.run(), scheduler.totals


def terms_of(config: ServeConfig, costs: Costs) -> Terms:
    """Return what policies know of adapters; half of the time that a first token may take is
    patience, as VaLoRA's starvation threshold.
    """
    if config.adapters is None or costs.adapters is None:
        return Terms()
    return Terms(
        switch_s=costs.adapters.switch_s,
        patience_s=config.slo.ttft_s / 2,
        allow_mixed=config.adapters.allow_mixed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCell:
    """A cell with what came of it."""

    cell: Cell
    workload: Workload
    outcome: Outcome


class Grid:
    """All cells of a run file."""

    def __init__(self, config: ServeConfig, known: Answered, server: Server) -> None:
        """Prepare all workloads, so that whatever cannot be served is refused at once.

        Raises:
            ValueError: a request would never fit, or a trace cannot be used.
        """
        self._config, self._server = config, server
        self._folder = Path(config.output) / "cells"
        self._cells = list(_workloads(config, known, server.token_bytes))
        if config.engine.kind == "openai":
            return  # a server elsewhere knows its own limits
        for cell, workload in self._cells:
            check_fits(workload, cell.experiment, cell.limits, self._ledger(cell))

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self._cells)

    def run(self, on_cell: Callable[[str], None]) -> Iterator[ServedCell]:
        """Yield all cells, served or read back.

        Args:
            on_cell: called with a cell's name before it is served.

        Raises:
            OutputError: its file cannot be written.
            ValueError: not one of its requests was answered.
        """
        for cell, workload in self._cells:
            content = self._meaning(cell, workload)
            outcome = read_cell(self._folder, content)
            if outcome is None:
                on_cell(cell.name)
                outcome = self._serve(cell, workload)
                errors = [one.error for one in outcome.requests if one.error is not None]
                if len(errors) == len(outcome.requests):
                    raise ValueError(f"{cell.name}: no request was answered; {errors[0]}")
                if not errors:  # else it is served again when the command is repeated
                    write_cell(self._folder, content, outcome)
            yield ServedCell(cell=cell, workload=workload, outcome=outcome)

    def _serve(self, cell: Cell, workload: Workload) -> Outcome:
        monitor = Monitor(self._config.monitor.every_s, self._server.probe())
        requests, totals = self._server.serve(cell, workload, monitor)
        return Outcome(
            totals=_rounded(asdict(totals)),
            requests=[served(one, *self._server.answer(one)) for one in requests],
            samples=monitor.samples,
        )

    def _meaning(self, cell: Cell, workload: Workload) -> dict[str, Any]:
        engine = self._server.identity(cell.experiment.variant)
        return meaning(self._config, cell, workload, engine)

    def _ledger(self, cell: Cell) -> Ledger:
        preempt = self._config.preempt_of(cell.experiment)
        shares = self._config.shares_prefixes(cell.experiment)
        return Ledger(cell.kv_bytes, preempt, shares_prefixes=shares)


def _workloads(
    config: ServeConfig, known: Answered, token_bytes: int
) -> Iterator[tuple[Cell, Workload]]:
    """Yield all cells with their requests, which are the same at every rate that is drawn."""
    made: dict[tuple[str, Arrivals | None], Workload] = {}
    for cell in cells_of(config):
        experiment, arrivals = cell.experiment, cell.arrivals
        key = (experiment.name, arrivals if isinstance(arrivals, TraceArrivals) else None)
        if key not in made:
            made[key] = make_workload(config, experiment, arrivals, known, token_bytes)
        yield cell, replace(made[key], arrivals=arrivals)


def _rounded(totals: dict[str, Any]) -> dict[str, Any]:
    return {name: round(one, 6) for name, one in totals.items()}
