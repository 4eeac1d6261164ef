"""``encodeonce bench sweep``: measures what a sweep of KV settings saves over separate runs."""

from pathlib import Path
from typing import Annotated

import typer

from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.harness.run.cache_spec import CacheSpec
from encodeonce.harness.run.config import BenchmarkSpec, RunConfig
from encodeonce.harness.run.read_config import load_config
from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.jobs.cli.bench.measuring import measuring, print_step
from encodeonce.jobs.cli.bench.options import NumRuns, Output
from encodeonce.jobs.cli.bench.scene import NUM_FRAMES
from encodeonce.jobs.cli.bench.sweep_measurement import SweepBench, run_sweep_bench
from encodeonce.jobs.cli.bench.sweep_report import headline, sections, to_json
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import ModelSpec

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
            help="A run file with several KV settings. [default: twelve settings on the demo]",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Only this many samples of each benchmark.", min=1)
    ] = None,
    runs: NumRuns = 3,
    output: Output = None,
) -> None:
    """Compare one run of all KV settings with separate runs: seconds, and whether answers agree.

    Both sides use stored features, share prefills between questions, and work in this process.
    """
    name = "demo" if path is None else path.stem
    with measuring(f"sweep {name}", output) as run:
        config = _demo(run.folder) if path is None else load_config(path)
        updates = {
            "cache": config.cache.model_copy(update={"path": run.folder / "cache"}),
            "workers": config.workers.model_copy(update={"executor": "local"}),
            "limit": limit or config.limit,
            "check_uncached": 0,
        }
        bench = SweepBench(
            config=config.model_copy(update=updates), folder=run.folder / "runs", num_runs=runs
        )
        if len(config.kv) < 2:
            raise ValueError(f"{path}: kv has one setting; a sweep needs at least two")
        # A line for each step, not a status line: runs show progress bars of their own.
        result = run_sweep_bench(bench, print_step)
        run.report(sections(result), to_json(result, bench), headline(result))
        if result.num_same < result.num_cells:
            raise ValueError(
                f"{result.num_cells - result.num_same} of {result.num_cells} answers differ "
                "between the sweep and the separate runs"
            )


def _demo(folder: Path) -> RunConfig:
    return RunConfig(
        model=ModelSpec(path="demo", dtype="float32"),
        benchmarks=(BenchmarkSpec(name="demo"),),
        frames=UniformInclusive(num_frames=NUM_FRAMES),
        cache=CacheSpec(path=folder / "cache"),
        workers=WorkersSpec(executor="local"),
        kv=TWELVE,
        output=folder / "runs",
    )
