"""The report of ``encodeonce bench sweep``, in the terminal and as JSON."""

from dataclasses import asdict
from typing import Any

from encodeonce.harness.bench.cells import spread
from encodeonce.harness.report.section import Section, Table
from encodeonce.jobs.cli.bench.sweep_measurement import Side, SweepBench, SweepResult


def sections(result: SweepResult) -> list[Section]:
    """Return the report of a measurement."""
    sides = (("one sweep", result.sweep), ("separate runs", result.separate))
    stages = dict.fromkeys(stage for _, side in sides for stage in side.stages_s)
    rows = [(name, spread(side.whole_s, 2), spread(side.answering_s, 2)) for name, side in sides]
    split = [(name, *(f"{_mean(side, stage):.2f}" for stage in stages)) for name, side in sides]
    return [
        Section(
            title=f"{result.num_settings} KV settings",
            table=Table(columns=("", "whole command, s", "answering, s"), rows=tuple(rows)),
            sentences=(
                "Medians (lowest to highest). 'whole command': everything but starting Python, "
                "loading the model included; 'answering': the worker's seconds without loading.",
            ),
        ),
        Section(
            title="Answering by stage, s",
            table=Table(columns=("", *stages), rows=tuple(split)),
            sentences=("Means over all runs.",),
        ),
    ]


def headline(result: SweepResult) -> str:
    """Return the result in one sentence."""
    return (
        f"the sweep is {result.answering_ratio:.1f} times faster at answering, "
        f"{result.whole_ratio:.1f} times as a whole; same answers in {result.num_same} of "
        f"{result.num_cells} cells"
    )


def to_json(result: SweepResult, bench: SweepBench) -> dict[str, Any]:
    """Return all measurements as plain JSON values."""
    return {
        "settings": [setting.title for setting in bench.config.kv],
        **asdict(result),
        "whole_ratio": result.whole_ratio,
        "answering_ratio": result.answering_ratio,
    }


def _mean(side: Side, stage: str) -> float:
    return side.stages_s.get(stage, 0.0) / len(side.whole_s)
