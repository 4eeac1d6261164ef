"""``encodeonce bench kv``: what compressed KV caches cost and save on one picture or video."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from encodeonce.harness.bench.kv import KVBench, run_kv_bench
from encodeonce.harness.bench.kv_report import sections, to_json
from encodeonce.harness.bench.result_file import file_name
from encodeonce.harness.report.terminal import print_report
from encodeonce.jobs.cli.bench.options import (
    Device,
    Dtype,
    Model,
    NumFrames,
    NumRuns,
    Output,
    Random,
    Shown,
    scene_spec,
    writable,
    write_measurements,
)
from encodeonce.jobs.cli.user_errors import user_errors
from encodeonce.models.kv.method import check_kv
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import ModelSpec, VisionSpec

console = Console()
BUDGETS = (0.2, 0.4, 0.6, 0.8, 1.0)


def kv(
    model: Model = "demo",
    random: Random = None,
    method: Annotated[
        list[str] | None, typer.Option(help="KV method; repeat for several. [default: prefixkv]")
    ] = None,
    keep: Annotated[
        list[float] | None,
        typer.Option(help="Budget; repeat for several. [default: 0.2 0.4 0.6 0.8 1.0]"),
    ] = None,
    precision: Annotated[
        Literal["model", "int8", "int4"], typer.Option(help="How kept entries are stored.")
    ] = "model",
    batch: Annotated[
        list[int] | None,
        typer.Option(help="Questions answered together; repeat for several. [default: 1 8]", min=1),
    ] = None,
    media: Shown = None,
    frames: NumFrames = None,
    prompt_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of a prompt: questions are filled up to it.", min=1),
    ] = None,
    new_tokens: Annotated[int, typer.Option(help="Tokens of an answer.", min=2)] = 64,
    runs: NumRuns = 5,
    dtype: Dtype = "bfloat16",
    device: Device = "auto",
    output: Output = None,
) -> None:
    """Compare compressed caches with transformers' own: seconds by stage, tokens/s, memory."""
    with tempfile.TemporaryDirectory(prefix="encodeonce-bench-") as folder, user_errors(OSError):
        now = datetime.now(UTC)
        name = f"kv-{random or Path(model).name}"
        path = None if output is None else writable(output, file_name(name, now))
        settings = [
            KVSpec(method=one, keep=budget, precision=precision)
            for one in method or ["prefixkv"]
            for budget in keep or BUDGETS
        ]
        for setting in settings:
            check_kv(setting)
        bench = KVBench(
            scene=scene_spec(
                spec=ModelSpec(path=model, dtype=dtype, device=device),
                random=random,
                vision=VisionSpec(tap="projected"),
                media=media,
                frames=frames,
                folder=Path(folder),
                console=console,
            ),
            settings=tuple(settings),
            batches=tuple(batch or (1, 8)),
            num_prompt_tokens=prompt_tokens,
            num_new_tokens=new_tokens,
            num_runs=runs,
        )
        with console.status("measuring") as status:
            ways = run_kv_bench(bench, lambda what: status.update(f"measuring: {what}"))
        print_report(console, sections(ways))
        write_measurements(path, to_json(bench, ways, now), console)
