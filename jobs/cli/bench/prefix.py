"""``encodeonce bench prefix``: what features and shared prefixes save on one picture or video."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from encodeonce.harness.bench.prefix import PrefixBench, run_prefix_bench
from encodeonce.harness.bench.prefix_report import sections, to_json
from encodeonce.harness.bench.result_file import file_name
from encodeonce.harness.report.terminal import print_report
from encodeonce.jobs.cli.bench.options import (
    SHAPES,
    Device,
    Dtype,
    Model,
    NumFrames,
    NumRuns,
    Output,
    Shown,
    scene_spec,
    writable,
    write_measurements,
)
from encodeonce.jobs.cli.user_errors import user_errors
from encodeonce.models.spec import ModelSpec, Tap, VisionSpec

console = Console()
QUESTIONS = (
    "What is shown?",
    "How many can be seen?",
    "Which of them is the largest?",
)


def prefix(
    model: Model = "demo",
    random: Annotated[
        str | None,
        typer.Option(
            help=f"Instead of a checkpoint, a shape with random weights: {', '.join(SHAPES)}. "
            "llava-small has 97 M (language model) and 86 M (tower) parameters and 1,024 visual "
            "tokens."
        ),
    ] = None,
    media: Shown = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="A question; repeat for more. Three by default.")
    ] = None,
    frames: NumFrames = None,
    runs: NumRuns = 5,
    new_tokens: Annotated[int, typer.Option(help="Tokens of an answer.", min=1)] = 16,
    max_batch: Annotated[
        int, typer.Option(help="Most questions answered together; 1 needs least memory.", min=1)
    ] = 16,
    dtype: Dtype = "bfloat16",
    device: Device = "auto",
    tap: Annotated[Tap, typer.Option(help="Where features are taken.")] = "projected",
    micro_batch: Annotated[int, typer.Option(help="Units encoded together.", min=1, max=256)] = 1,
    output: Output = None,
) -> None:
    """Compare no cache, features, a prefix shared by all questions, and a resident prefix."""
    with tempfile.TemporaryDirectory(prefix="encodeonce-bench-") as folder, user_errors(OSError):
        here = Path(folder)
        now = datetime.now(UTC)
        name = random or Path(model).name
        path = None if output is None else writable(output, file_name(name, now))
        bench = PrefixBench(
            scene=scene_spec(
                spec=ModelSpec(path=model, dtype=dtype, device=device),
                random=random,
                vision=VisionSpec(tap=tap, micro_batch=micro_batch),
                media=media,
                frames=frames,
                folder=here,
                console=console,
            ),
            questions=tuple(prompt or QUESTIONS),
            num_runs=runs,
            num_new_tokens=new_tokens,
            max_batch=max_batch,
        )
        with console.status("measuring") as status:
            result = run_prefix_bench(bench, lambda way: status.update(f"measuring: {way}"))
        print_report(console, sections(result))
        write_measurements(path, to_json(bench, result, now), console)
