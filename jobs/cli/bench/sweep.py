"""``encodeonce bench sweep``: what a sweep of KV settings saves over a run for each."""

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.harness.bench.machine import hardware
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.report.terminal import print_report
from encodeonce.harness.run.config import BenchmarkSpec, CacheSpec, RunConfig, WorkersSpec
from encodeonce.harness.run.read_config import load_config
from encodeonce.jobs.cli.bench.sweep_measurement import (
    Side,
    SweepBench,
    SweepResult,
    run_sweep_bench,
)
from encodeonce.jobs.cli.user_errors import user_errors
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import ModelSpec

console = Console()
TWELVE = (
    FULL,
    *(
        KVSpec(method=method, keep=keep)
        for method in ("snapkv", "h2o", "prefixkv", "knorm", "streaming_llm")
        for keep in (0.2, 0.5)
    ),
    KVSpec(method="expected_attention", keep=0.2),
)


def sweep(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN.yaml]",
            help="A run with several kv settings; by default twelve of them on the demo.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many samples of each benchmark.", min=1)
    ] = None,
    runs: Annotated[int, typer.Option(help="Times to take medians over.", min=1)] = 3,
    output: Annotated[Path | None, typer.Option(help="Write all measurements as JSON.")] = None,
) -> None:
    """Compare one run of all KV settings with a run for each: seconds, and whether answers agree.

    Both sides use stored features, share prefills between questions, and work in this process.
    """
    with tempfile.TemporaryDirectory(prefix="encodeonce-bench-") as folder, user_errors():
        here = Path(folder)
        config = _demo(here) if path is None else load_config(path)
        updates = {
            "cache": config.cache.model_copy(update={"path": here / "cache"}),
            "workers": config.workers.model_copy(update={"executor": "local"}),
            "limit": limit or config.limit,
            "check_uncached": 0,
        }
        bench = SweepBench(
            config=config.model_copy(update=updates), folder=here / "runs", num_runs=runs
        )
        if len(config.kv) < 2:
            raise ValueError(f"{path}: kv has one setting; a sweep has several")
        with console.status("") as status:
            result = run_sweep_bench(bench, lambda step: status.update(step))
        print_report(console, sections(result))
        console.print(_headline(result), style="bold", highlight=False, soft_wrap=True)
        if output is not None:
            content = _to_json(result, config.kv)
            output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            console.print(f"all measurements: {output}", highlight=False, soft_wrap=True)
        if result.num_same < result.num_cells:
            raise ValueError(
                f"{result.num_cells - result.num_same} of {result.num_cells} answers differ"
            )


def sections(result: SweepResult) -> list[Section]:
    """Return the report of a measurement."""
    sides = (("one sweep", result.sweep), ("separate runs", result.separate))
    stages = dict.fromkeys(stage for _, side in sides for stage in side.stages_s)
    rows = [(name, _spread(side.whole_s), _spread(side.answering_s)) for name, side in sides]
    split = [(name, *(f"{_mean(side, stage):.2f}" for stage in stages)) for name, side in sides]
    return [
        Section(
            title=f"{result.num_settings} settings",
            table=Table(columns=("", "whole, s", "answering, s"), rows=tuple(rows)),
            sentences=(
                "Medians (lowest to highest). 'whole': all but starting Python, model loading "
                "included; 'answering': the worker's seconds without it.",
            ),
        ),
        Section(
            title="Answering by stage, s",
            table=Table(columns=("", *stages), rows=tuple(split)),
            sentences=("Means over the times.",),
        ),
    ]


def _headline(result: SweepResult) -> str:
    return (
        f"the sweep is {result.answering_ratio:.1f} times faster at answering, "
        f"{result.whole_ratio:.1f} times as a whole; same answers in {result.num_same} of "
        f"{result.num_cells} cells"
    )


def _demo(folder: Path) -> RunConfig:
    return RunConfig(
        model=ModelSpec(path="demo", dtype="float32"),
        benchmarks=(BenchmarkSpec(name="demo"),),
        frames=UniformInclusive(num_frames=8),
        cache=CacheSpec(path=folder / "cache"),
        workers=WorkersSpec(executor="local"),
        kv=TWELVE,
        output=folder / "runs",
    )


def _to_json(result: SweepResult, settings: Sequence[KVSpec]) -> dict[str, object]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "settings": [setting.title for setting in settings],
        **asdict(result),
        "whole_ratio": result.whole_ratio,
        "answering_ratio": result.answering_ratio,
    }


def _mean(side: Side, stage: str) -> float:
    return side.stages_s.get(stage, 0.0) / len(side.whole_s)


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
