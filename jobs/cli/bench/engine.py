"""``encodeonce bench engine``: measures decoding many answers together."""

from typing import Annotated

import typer

from encodeonce.harness.bench.engine import EngineBench, run_engine_bench
from encodeonce.harness.bench.engine_report import headline, sections, to_json
from encodeonce.jobs.cli.bench.measuring import measuring, status_line
from encodeonce.jobs.cli.bench.options import Device, Dtype, Model, Output, Random
from encodeonce.jobs.cli.bench.prefix import QUESTIONS
from encodeonce.jobs.cli.bench.scene import make_scene, model_name
from encodeonce.jobs.cli.specs import model_from_options


def engine(
    model: Model = "demo",
    random: Random = None,
    pictures: Annotated[int, typer.Option(help="Pictures of noise to ask about.", min=1)] = 6,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="A question. Can be repeated. [default: three questions]"),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Timed rounds; tables show the median.", min=1)] = 5,
    new_tokens: Annotated[int, typer.Option(help="Length of an answer, in tokens.", min=2)] = 16,
    dtype: Dtype = "bfloat16",
    device: Device = "auto",
    output: Output = None,
) -> None:
    """Compare transformers' generate with answers about several pictures decoded as one batch."""
    with measuring(f"engine {model_name(model, random)}", output) as run:
        bench = EngineBench(
            scene=make_scene(
                model_from_options(model, dtype, device),
                random=random,
                media=None,
                frames=None,
                folder=run.folder,
            ),
            num_pictures=pictures,
            questions=tuple(prompt or QUESTIONS),
            num_rounds=rounds,
            num_new_tokens=new_tokens,
        )
        with status_line() as on_run:
            result = run_engine_bench(bench, on_run)
        run.report(sections(bench, result), to_json(bench, result), headline(result))
