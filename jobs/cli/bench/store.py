"""``encodeonce bench store``: compares our feature store with other ways to keep arrays."""

from typing import Annotated

import typer

from encodeonce.harness.bench.store import DTYPES, BenchOptions, run_bench
from encodeonce.harness.bench.store_report import sections, to_json
from encodeonce.harness.bench.store_small import run_small
from encodeonce.jobs.cli.bench.measuring import measuring, status_line
from encodeonce.jobs.cli.bench.options import DiskFolder, Output
from encodeonce.jobs.cli.progress_bar import progress_bar


def store(
    entry_mib: Annotated[
        float,
        typer.Option(help="Size of an entry, MiB; claims are judged from 144 on.", min=1.0),
    ] = 18.0,
    rounds: Annotated[
        int, typer.Option(help="Timed rounds; tables show medians. Claims need 5.", min=1)
    ] = 5,
    threads: Annotated[int, typer.Option(help="Threads of our store.", min=1)] = 2,
    small_entries: Annotated[
        int,
        typer.Option(help="Number of small entries; the published results use 100000.", min=1),
    ] = 10_000,
    wait_s: Annotated[
        float,
        typer.Option(help="Longest wait, in seconds, for an idle machine before each read."),
    ] = 0.0,
    folder: DiskFolder = None,
    output: Output = None,
) -> None:
    """Compare our store with torch.save, safetensors, gzip, zarr and LMDB on the same data."""
    with measuring("store", output) as run:
        options = BenchOptions(
            entry_mib=entry_mib,
            num_rounds=rounds,
            num_threads=threads,
            dtypes=tuple(DTYPES),
            wait_s=wait_s,
            folder=folder,
        )
        with progress_bar("measuring") as on_round:
            result = run_bench(options, on_round)
        with status_line() as on_step:
            on_step("small entries")
            small = run_small(small_entries, folder)
        run.report(sections(result, small), to_json(result, small))
