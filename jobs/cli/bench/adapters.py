"""``encodeonce bench adapters``: measures several LoRA adapters in one batch."""

from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.bench.adapters.measure import AdaptersBench, run_adapters_bench
from encodeonce.harness.bench.adapters.report import headline, sections, to_json
from encodeonce.jobs.cli.bench.measuring import measuring, status_line
from encodeonce.jobs.cli.bench.options import Device, Dtype, Model, Output, Random
from encodeonce.jobs.cli.bench.prefix import QUESTIONS
from encodeonce.jobs.cli.bench.scene import make_scene, model_name
from encodeonce.jobs.cli.specs import model_from_options

Counts = list[int] | None


def adapters(
    model: Model = "demo",
    random: Random = None,
    number: Annotated[
        Counts, typer.Option(help="Adapters. Can be repeated. [default: 1, 4, 16]", min=1)
    ] = None,
    samples: Annotated[
        Counts,
        typer.Option(help="Samples under each. Can be repeated. [default: 1, 16]", min=1),
    ] = None,
    tokens: Annotated[
        Counts,
        typer.Option(help="Length of an answer. Can be repeated. [default: 1, 16]", min=1),
    ] = None,
    prefix_tokens: Annotated[
        int,
        typer.Option(help="How much of the prompt is read, in tokens; 0 for all.", min=0),
    ] = 64,
    max_batch: Annotated[int, typer.Option(help="Most rows of a batch.", min=1)] = 16,
    rank: Annotated[
        int, typer.Option(help="Of half of the adapters; half of it of the others.", min=1)
    ] = 16,
    rounds: Annotated[int, typer.Option(help="Timed rounds; tables show the median.", min=1)] = 3,
    tune: Annotated[
        bool, typer.Option("--tune", help="First measure which kind is fastest, by shape.")
    ] = False,
    table: Annotated[
        Path, typer.Option(help="What --tune writes, and is read where it is there.")
    ] = Path("adapters-dispatch.json"),
    dtype: Dtype = "float32",
    device: Device = "auto",
    output: Output = None,
) -> None:
    """Compare rows of different adapters in one batch with peft's ways, and with merging a copy."""
    with measuring(f"adapters {model_name(model, random)}", output) as run:
        if not table.absolute().parent.is_dir():
            raise ValueError(f"--table {table}: there is no folder {table.absolute().parent}")
        bench = AdaptersBench(
            scene=make_scene(
                model_from_options(model, dtype, device),
                random=random,
                media=None,
                frames=None,
                folder=run.folder,
            ),
            question=QUESTIONS[0],
            num_adapters=tuple(dict.fromkeys(number or (1, 4, 16))),
            num_samples=tuple(dict.fromkeys(samples or (1, 16))),
            num_tokens=tuple(sorted(set(tokens or (1, 16)))),
            prefix_tokens=prefix_tokens or None,
            max_batch=max_batch,
            rank=rank,
            num_rounds=rounds,
            table=table,
            is_tuned=tune,
        )
        with status_line() as on_run:
            result = run_adapters_bench(bench, on_run)
        run.report(sections(bench, result), to_json(bench, result), headline(bench, result))
