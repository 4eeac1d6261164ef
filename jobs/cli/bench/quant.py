"""``encodeonce bench quant``: measures what quantised weights cost and save on one prompt."""

from typing import Annotated

import typer

from encodeonce.harness.bench.quant import QuantBench, run_quant_bench
from encodeonce.harness.bench.quant_report import sections, to_json
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
from encodeonce.jobs.cli.specs import model_from_options, weights_from_text


def quant(
    weights: Annotated[
        list[str],
        typer.Argument(
            help="Weight variants as in a run file: 'bnb-nf4', '{method: awq, path: FOLDER}', "
            "'{method: rtn, options: {kernel: int4}}'. 'awq' without a path is made here, "
            "calibrated on the measured prompt."
        ),
    ],
    model: Model = "demo",
    random: Random = None,
    media: Media = None,
    prompt: Annotated[str, typer.Option(help="The question.")] = "What is shown?",
    frames: NumFrames = None,
    runs: NumRuns = 5,
    new_tokens: Annotated[int, typer.Option(help="Length of the answer, in tokens.", min=2)] = 64,
    dtype: Dtype = "bfloat16",
    device: Device = "auto",
    output: Output = None,
) -> None:
    """Compare weight variants with the unquantised model: memory, first token, tokens/s, output."""
    with measuring(f"quant {model_name(model, random)}", output) as run:
        variants = tuple(map(weights_from_text, weights))
        spec = model_from_options(model, dtype, device)
        bench = QuantBench(
            scene=make_scene(spec, random=random, media=media, frames=frames, folder=run.folder),
            question=prompt,
            variants=variants,
            num_runs=runs,
            num_new_tokens=new_tokens,
        )
        with status_line() as on_step:
            found = run_quant_bench(bench, on_step)
        run.report(sections(found), to_json(bench, found))
