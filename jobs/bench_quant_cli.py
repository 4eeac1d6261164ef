"""``encodeonce bench quant``: what quantised weights cost and save on one prompt."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from encodeonce.datasets.sampling import UniformInclusive
from encodeonce.harness.bench_quant import QuantBench, run_quant_bench, sections, to_json
from encodeonce.harness.report_terminal import print_report
from encodeonce.jobs.bench_scene import LLAVAS, VILAS, kind_of, noise, random_model
from encodeonce.jobs.user_errors import user_errors
from encodeonce.models.spec import ModelSpec, VisionSpec
from encodeonce.models.weights import WeightsSpec

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
    model: Annotated[
        str, typer.Option(help="Folder or hub id of a checkpoint, or 'demo'.")
    ] = "demo",
    random: Annotated[
        str,
        typer.Option(
            help="Instead of a checkpoint: random weights of the shape "
            f"{', '.join((*LLAVAS, *VILAS))}."
        ),
    ] = "",
    media: Annotated[
        Path | None, typer.Option(help="Picture or video; by default a picture of noise.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="The question.")] = "What is shown?",
    frames: Annotated[int, typer.Option(help="Frames of a video.", min=1)] = 8,
    runs: Annotated[int, typer.Option(help="Runs to take medians over.", min=1)] = 5,
    new_tokens: Annotated[int, typer.Option(help="Tokens of the answer.", min=2)] = 64,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    output: Annotated[Path | None, typer.Option(help="Write all measurements as JSON.")] = None,
) -> None:
    """Compare weight variants with the unquantised model: memory, first token, tokens/s, output."""
    with user_errors(), tempfile.TemporaryDirectory(prefix="encodeonce-bench-") as folder:
        here = Path(folder)
        path = random_model(random, dtype, here / "model") if random else model
        shown = noise(here) if media is None else media
        bench = QuantBench(
            model=ModelSpec.model_validate({"path": path, "dtype": dtype, "device": device}),
            vision=VisionSpec(tap="projected"),
            media=shown,
            kind=kind_of(shown),
            frames=UniformInclusive(num_frames=frames),
            question=prompt,
            variants=tuple(WeightsSpec.model_validate(yaml.safe_load(text)) for text in weights),
            num_runs=runs,
            num_new_tokens=new_tokens,
            folder=here / "cache",
        )
        with console.status("measuring") as status:
            found = run_quant_bench(bench, lambda step: status.update(f"measuring: {step}"))
        print_report(console, sections(found))
        if output is not None:
            output.write_text(json.dumps(to_json(bench, found), indent=2) + "\n", "utf-8")
            console.print(f"all measurements: {output}", highlight=False, soft_wrap=True)
