"""``encodeonce bench prefix``: measures what stored features and shared prefixes save."""

from typing import Annotated

import typer

from encodeonce.harness.bench.prefix import PrefixBench, run_prefix_bench
from encodeonce.harness.bench.prefix_report import sections, to_json
from encodeonce.jobs.cli.bench.measuring import measuring, status_line
from encodeonce.jobs.cli.bench.options import (
    Device,
    Dtype,
    Media,
    Model,
    NumFrames,
    NumRuns,
    Output,
    Random,
)
from encodeonce.jobs.cli.bench.scene import make_scene, model_name
from encodeonce.jobs.cli.specs import model_from_options
from encodeonce.models.spec import Tap, VisionSpec

QUESTIONS = (
    "What is shown?",
    "How many can be seen?",
    "Which of them is the largest?",
)


def prefix(
    model: Model = "demo",
    random: Random = None,
    media: Media = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="A question. Can be repeated. [default: three questions]"),
    ] = None,
    frames: NumFrames = None,
    runs: NumRuns = 5,
    new_tokens: Annotated[int, typer.Option(help="Length of an answer, in tokens.", min=1)] = 16,
    max_batch: Annotated[
        int,
        typer.Option(help="Most questions answered together; 1 needs the least memory.", min=1),
    ] = 16,
    dtype: Dtype = "bfloat16",
    device: Device = "auto",
    tap: Annotated[
        Tap, typer.Option(help="Where features are taken: after the tower or the projector.")
    ] = "projected",
    micro_batch: Annotated[
        int,
        typer.Option(help="Frames (or images) that the tower encodes together.", min=1, max=256),
    ] = 1,
    output: Output = None,
) -> None:
    """Compare no cache, stored features, a prefix shared by all questions, and a resident one."""
    with measuring(model_name(model, random), output) as run:
        bench = PrefixBench(
            scene=make_scene(
                model_from_options(model, dtype, device),
                random=random,
                media=media,
                frames=frames,
                folder=run.folder,
                vision=VisionSpec(tap=tap, micro_batch=micro_batch),
            ),
            questions=tuple(prompt or QUESTIONS),
            num_runs=runs,
            num_new_tokens=new_tokens,
            max_batch=max_batch,
        )
        with status_line() as on_run:
            result = run_prefix_bench(bench, on_run)
        run.report(sections(result), to_json(bench, result))
