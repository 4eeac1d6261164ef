"""``encodeonce bench prefix``: what features and shared prefixes save on one picture or video."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from encodeonce.datasets.sampling import UniformInclusive
from encodeonce.harness.bench_prefix import (
    PrefixBench,
    run_prefix_bench,
    sections,
    to_json,
)
from encodeonce.harness.report_terminal import print_report
from encodeonce.jobs.bench_scene import LLAVAS, kind_of, noise, random_model
from encodeonce.models.spec import ModelSpec, VisionSpec

console = Console()
QUESTIONS = (
    "What is shown?",
    "How many can be seen?",
    "Which of them is the largest?",
)


def prefix(
    model: Annotated[
        str, typer.Option(help="Folder or hub id of a checkpoint, or 'demo'.")
    ] = "demo",
    random_llava: Annotated[
        str,
        typer.Option(
            help="Instead of a checkpoint: a LLaVA with random weights, 'small' (97 M and 86 M "
            "parameters, 1,024 visual tokens) or 'llava-1.5-7b'."
        ),
    ] = "",
    media: Annotated[
        Path | None, typer.Option(help="Picture or video; by default a picture of noise.")
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="A question; repeat for more. Three by default.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames of a video.", min=1)] = 8,
    runs: Annotated[int, typer.Option(help="Runs to take medians over.", min=1)] = 5,
    new_tokens: Annotated[int, typer.Option(help="Tokens of an answer.", min=1)] = 16,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    tap: Annotated[str, typer.Option(help="Where features are taken: tower or projected.")] = (
        "projected"
    ),
    output: Annotated[Path | None, typer.Option(help="Write all measurements as JSON.")] = None,
) -> None:
    """Compare no cache, features, a prefix shared by all questions, and a resident prefix."""
    with tempfile.TemporaryDirectory(prefix="encodeonce-bench-") as folder:
        here = Path(folder)
        if random_llava:
            if random_llava not in LLAVAS:
                raise typer.BadParameter(f"--random-llava: one of {', '.join(LLAVAS)}")
            model = random_model(random_llava, dtype, here / "model")
        shown = noise(here) if media is None else media
        bench = PrefixBench(
            model=ModelSpec.model_validate({"path": model, "dtype": dtype, "device": device}),
            vision=VisionSpec.model_validate({"tap": tap}),
            media=shown,
            kind=kind_of(shown),
            frames=UniformInclusive(num_frames=frames),
            questions=tuple(prompt or QUESTIONS),
            num_runs=runs,
            num_new_tokens=new_tokens,
            folder=here / "cache",
        )
        with console.status("measuring") as status:
            found = run_prefix_bench(bench, lambda way: status.update(f"measuring: {way}"))
        print_report(console, sections(found))
        if output is not None:
            output.write_text(json.dumps(to_json(bench, found), indent=2) + "\n", "utf-8")
            console.print(f"all measurements: {output}", highlight=False, soft_wrap=True)
