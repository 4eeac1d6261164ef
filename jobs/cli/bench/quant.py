"""``encodeonce bench quant``: what quantised weights cost and save on one prompt."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from encodeonce.harness.bench.quant import QuantBench, run_quant_bench
from encodeonce.harness.bench.quant_report import sections, to_json
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
from encodeonce.models.spec import ModelSpec, VisionSpec, WeightsSpec

console = Console()


def quant(
    weights: Annotated[
        list[str],
        typer.Argument(
            help="Weight variants as in a run file: 'bnb-nf4', '{method: awq, path: FOLDER}', "
            "'{method: rtn, options: {kernel: int4}}'. 'awq' without a path is quantised here, "
            "on the measured prompt."
        ),
    ],
    model: Model = "demo",
    random: Random = None,
    media: Shown = None,
    prompt: Annotated[str, typer.Option(help="The question.")] = "What is shown?",
    frames: NumFrames = None,
    runs: NumRuns = 5,
    new_tokens: Annotated[int, typer.Option(help="Tokens of the answer.", min=2)] = 64,
    dtype: Dtype = "bfloat16",
    device: Device = "auto",
    output: Output = None,
) -> None:
    """Compare weight variants with the unquantised model: memory, first token, tokens/s, output."""
    with tempfile.TemporaryDirectory(prefix="encodeonce-bench-") as folder, user_errors(OSError):
        now = datetime.now(UTC)
        name = f"quant {random or Path(model).name}"
        path = None if output is None else writable(output, file_name(name, now))
        variants = tuple(WeightsSpec.model_validate(yaml.safe_load(text)) for text in weights)
        bench = QuantBench(
            scene=scene_spec(
                spec=ModelSpec(path=model, dtype=dtype, device=device),
                random=random,
                vision=VisionSpec(tap="projected"),
                media=media,
                frames=frames,
                folder=Path(folder),
                console=console,
            ),
            question=prompt,
            variants=variants,
            num_runs=runs,
            num_new_tokens=new_tokens,
        )
        with console.status("measuring") as status:
            found = run_quant_bench(bench, lambda step: status.update(f"measuring: {step}"))
        print_report(console, sections(found))
        write_measurements(path, to_json(bench, found, now), console)
