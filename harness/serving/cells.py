"""Cells: one experiment under one load and one cap. Each is a file, and is never computed twice.

``cells/<digest>.jsonl``: a line about the cell, then one for each request. ``cells/<digest>.csv``:
the state over time. The digest is of everything that decides the content.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from encodeonce.cache_store import durable
from encodeonce.cache_store.signature import canonical_json
from encodeonce.harness.run.jsonl import read_json_lines
from encodeonce.harness.run.output_error import writing
from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.arrivals import arrival_times_s
from encodeonce.harness.serving.config import Experiment, ServeConfig
from encodeonce.harness.serving.loads import Arrivals, ClosedArrivals, Limits, at_each, axis_of
from encodeonce.harness.serving.metrics import Served
from encodeonce.harness.serving.monitor import Sample
from encodeonce.harness.serving.request import Request
from encodeonce.harness.serving.workload import Workload

SCHEMA = 1
"""Of the content: bump it where the scheduler, a policy or an engine serves otherwise."""
MICRO = 1_000_000
_STATE = ("time_s", "running", "waiting", "reserved_kv_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One experiment under one load and one cap."""

    experiment: Experiment
    arrivals: Arrivals
    """With a single rate."""
    limits: Limits
    """With a single cap."""

    @property
    def load(self) -> float:
        """The rate, or what stands in its place."""
        (value,) = getattr(self.arrivals, axis_of(self.arrivals))
        return float(value)

    @property
    def kv_bytes(self) -> int:
        """The cap."""
        return self.limits.kv_bytes[0]

    @property
    def name(self) -> str:
        """For progress and errors."""
        return (
            f"{self.experiment.name}, {axis_of(self.arrivals)} {self.load:g}, "
            f"{self.kv_bytes / 2**20:g} MiB"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a cell."""

    totals: dict[str, Any]
    requests: Sequence[Served]
    samples: Sequence[Sample]


def cells_of(config: ServeConfig) -> Iterator[Cell]:
    """Yield the cells of a grid: caps, loads, then experiments, so that neighbours compare."""
    found = []
    for experiment in config.experiments:
        for limits in (experiment.limits or config.limits).at_each():
            for arrivals in at_each(experiment.arrivals or config.arrivals):
                found.append(Cell(experiment=experiment, arrivals=arrivals, limits=limits))
    order = {one.name: number for number, one in enumerate(config.experiments)}
    yield from sorted(found, key=lambda c: (c.kv_bytes, c.load, order[c.experiment.name]))


def meaning(config: ServeConfig, cell: Cell, workload: Workload, engine: Any) -> dict[str, Any]:
    """Return everything that decides a cell's content, as plain JSON values.

    Args:
        config: the run file.
        cell: the cell.
        workload: its requests.
        engine: what the engine's seconds depend on.
    """
    experiment = cell.experiment
    times_s = None
    if not isinstance(cell.arrivals, ClosedArrivals):
        times_s = _digest(arrival_times_s(cell.arrivals))
    # Neither the experiment's name nor the objectives: with others, cells need no new computation.
    return {
        "schema": SCHEMA,
        "encodeonce": version("encodeonce"),
        "engine": engine,
        "kv": experiment.kv.model_dump(mode="json"),
        "weights": experiment.weights.model_dump(mode="json"),
        "policy": config.policy_of(experiment),
        "preempt": config.preempt_of(experiment),
        "share_prefixes": config.shares_prefixes(experiment),
        "features": config.features,
        "arrivals": cell.arrivals.model_dump(mode="json", exclude={"file", "warmup"}),
        "arrival times": times_s,
        "limits": cell.limits.model_dump(mode="json"),
        "output_tokens": config.output_tokens.model_dump(mode="json"),
        "monitor": config.monitor.model_dump(mode="json"),
        "requests": workload.sha256,
        **({} if config.adapters is None else {"adapters": _without_folders(config.adapters)}),
    }


def _without_folders(adapters: AdaptersLoad) -> dict[str, Any]:
    """Return what decides seconds: not where adapters are, which the demands speak for."""
    return adapters.model_dump(mode="json", exclude={"folders"})


def digest_of(content: dict[str, Any]) -> str:
    """Return the name of a cell's files."""
    return _digest(content)[:24]


def write_cell(folder: Path, content: dict[str, Any], outcome: Outcome) -> None:
    """Write a cell's files; one that is there is whole.

    Raises:
        OutputError: they cannot be written.
    """
    path = folder / digest_of(content)
    lines = [{"cell": content, "totals": outcome.totals}, *map(_plain, outcome.requests)]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        durable.replace(_csv(outcome.samples).encode(), path.with_suffix(".csv"), folder)
        encoded = text.encode("utf-8", "backslashreplace")
        durable.replace(encoded, path.with_suffix(".jsonl"), folder)


def read_cell(folder: Path, content: dict[str, Any]) -> Outcome | None:
    """Return what came of a cell; None if it has not been computed.

    Raises:
        DamagedFile: a line is not what was written there.
    """
    path = folder / digest_of(content)
    if not path.with_suffix(".jsonl").exists():
        return None
    head, *requests = read_json_lines(path.with_suffix(".jsonl"))
    with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        samples = [
            Sample(
                time_s=float(row["time_s"]),
                running=int(row["running"]),
                waiting=int(row["waiting"]),
                reserved_kv_bytes=int(row["reserved_kv_bytes"]),
                machine={name: float(row[name]) for name in row if name not in _STATE},
            )
            for row in csv.DictReader(file)
        ]
    found = [_of_line(line) for line in requests]
    return Outcome(totals=head["totals"], requests=found, samples=samples)


def served(request: Request, text: str | None = None, token_ids: Sequence[int] = ()) -> Served:
    """Return what is kept of a request that has ended; times in whole microseconds."""
    times_us = [round(at_s * MICRO) for at_s in request.times_s]
    gaps_us = (later - before for before, later in zip(times_us, times_us[1:], strict=False))
    return Served(
        number=request.number,
        sample=request.demand.sample,
        arrival_s=round(request.arrival_s, 6),
        queue_length=request.queue_length,
        first_s=times_us[0] / MICRO if times_us else None,
        gaps_s=tuple(gap / MICRO for gap in gaps_us),
        queue_s={stage: round(seconds, 6) for stage, seconds in request.queue_s.items()},
        stage_s={stage: round(seconds, 6) for stage, seconds in request.stage_s.items()},
        num_preempted=request.num_preempted,
        is_hit=request.is_hit,
        error=request.error,
        text=text,
        token_ids=tuple(token_ids),
    )


def _plain(request: Served) -> dict[str, Any]:
    """Return a request's line: gaps in microseconds, which takes half the room."""
    # Not `asdict`, which copies every gap.
    line = {name: getattr(request, name) for name in Served.__dataclass_fields__}
    line["gaps_us"] = [round(gap * MICRO) for gap in line.pop("gaps_s")]
    return line


def _of_line(line: dict[str, Any]) -> Served:
    fields = dict(line)
    gaps_us = fields.pop("gaps_us")
    return Served(**fields, gaps_s=tuple(gap / MICRO for gap in gaps_us))


def _csv(samples: Sequence[Sample]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    machine = list(samples[0].machine) if samples else []
    writer.writerow([*_STATE, *machine])
    for one in samples:
        state = [getattr(one, name) for name in _STATE]
        writer.writerow([*state, *(one.machine[name] for name in machine)])
    return text.getvalue()


def _digest(content: Any) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()
