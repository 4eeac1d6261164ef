"""``encodeonce bench``: measure the program itself."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from encodeonce.harness.bench.store import DTYPES, BenchOptions, run_bench
from encodeonce.harness.bench.store_report import sections, to_json
from encodeonce.harness.bench.store_small import run_small
from encodeonce.harness.report.terminal import print_report
from encodeonce.jobs.cli.bench.kv import kv
from encodeonce.jobs.cli.bench.prefix import prefix
from encodeonce.jobs.cli.bench.quant import quant
from encodeonce.jobs.cli.bench.sweep import sweep

bench_app = typer.Typer(
    help="Measure the program itself.", no_args_is_help=True, add_completion=False
)
console = Console()


bench_app.command("prefix")(prefix)
bench_app.command("kv")(kv)
bench_app.command("sweep")(sweep)
bench_app.command("quant")(quant)


@bench_app.command()
def store(
    entry_mib: Annotated[
        float, typer.Option(help="Size of an entry; 144 for the published figures.", min=1.0)
    ] = 18.0,
    rounds: Annotated[int, typer.Option(help="Rounds to take medians over.", min=1)] = 5,
    threads: Annotated[int, typer.Option(help="Threads of our store.", min=1)] = 2,
    small_entries: Annotated[
        int, typer.Option(help="Small entries; 100000 for the published figures.", min=1)
    ] = 10_000,
    wait_s: Annotated[
        float, typer.Option(help="Before each read, wait this long for the machine to be idle.")
    ] = 0.0,
    folder: Annotated[
        Path | None, typer.Option(help="Disk to measure; the temporary folder by default.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write all measurements as JSON.")] = None,
) -> None:
    """Compare our store with torch.save, safetensors, gzip, zarr and LMDB on the same data."""
    options = BenchOptions(
        entry_mib=entry_mib,
        num_rounds=rounds,
        num_threads=threads,
        dtypes=tuple(DTYPES),
        wait_s=wait_s,
        folder=folder,
    )
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=None)
        result = run_bench(
            options, lambda done, total: bar.update(task, completed=done, total=total)
        )
        bar.update(task, description="small entries", total=None)
        small = run_small(small_entries, folder)
    print_report(console, sections(result, small))
    if output is not None:
        output.write_text(json.dumps(to_json(result, small), indent=2) + "\n", "utf-8")
        console.print(f"all measurements: {output}", highlight=False, soft_wrap=True)
