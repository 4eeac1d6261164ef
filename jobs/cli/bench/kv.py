"""``encodeonce bench kv``: measures compressed KV caches on one picture or video."""

from typing import Annotated, Any, Literal

import typer

from encodeonce.harness.bench.kv import KVBench, run_kv_bench
from encodeonce.harness.bench.kv_report import sections, to_json
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
from encodeonce.jobs.cli.specs import from_options, mapping_from_option, model_from_options
from encodeonce.models.kv.registry import check_kv, find_method, for_workers
from encodeonce.models.kv.spec import KVSpec

METHODS = ("prefixkv",)
BUDGETS = (0.2, 0.4, 0.6, 0.8, 1.0)
BATCHES = (1, 8)


def kv(
    model: Model = "demo",
    random: Random = None,
    method: Annotated[
        list[str] | None, typer.Option(help="KV method. Can be repeated. [default: prefixkv]")
    ] = None,
    keep: Annotated[
        list[float] | None,
        typer.Option(
            help="Budget: the fraction of entries that is kept. Can be repeated. "
            "[default: 0.2 0.4 0.6 0.8 1.0]"
        ),
    ] = None,
    options: Annotated[
        str | None,
        typer.Option(
            help="The method's own options, as in run files: '{path: demo-9}' for ccm, whose "
            "budget follows from them."
        ),
    ] = None,
    precision: Annotated[
        Literal["model", "int8", "int4"], typer.Option(help="How kept entries are stored.")
    ] = "model",
    batch: Annotated[
        list[int] | None,
        typer.Option(help="Questions answered together. Can be repeated. [default: 1 8]", min=1),
    ] = None,
    media: Media = None,
    frames: NumFrames = None,
    prompt_tokens: Annotated[
        int | None,
        typer.Option(help="Length of a prompt: questions are padded with text up to it.", min=1),
    ] = None,
    new_tokens: Annotated[int, typer.Option(help="Length of an answer, in tokens.", min=2)] = 64,
    runs: NumRuns = 5,
    dtype: Dtype = "bfloat16",
    device: Device = "auto",
    output: Output = None,
) -> None:
    """Compare compressed caches with transformers' own: seconds by stage, tokens/s, memory."""
    with measuring(f"kv {model_name(model, random)}", output) as run:
        own = mapping_from_option("options", options)
        settings = [
            for_workers(setting)
            for one in method or METHODS
            for setting in _settings(one, keep, precision, own)
        ]
        spec = model_from_options(model, dtype, device)
        bench = KVBench(
            scene=make_scene(spec, random=random, media=media, frames=frames, folder=run.folder),
            settings=tuple(settings),
            batches=tuple(batch or BATCHES),
            num_prompt_tokens=prompt_tokens,
            num_new_tokens=new_tokens,
            num_runs=runs,
        )
        with status_line() as on_run:
            ways = run_kv_bench(bench, on_run)
        run.report(sections(ways), to_json(bench, ways))


def _settings(
    method: str, keep: list[float] | None, precision: str, options: dict[str, Any]
) -> list[KVSpec]:
    """Return a method at each budget, or at the only one that it has.

    Raises:
        ValueError: there is no such method, or the options are not its own.
    """
    named = from_options(KVSpec, method=method, precision=precision, options=options)
    found = find_method(named)
    only = None if found is None or keep else found.only_keep
    budgets = [only] if only is not None else keep or BUDGETS
    settings = [
        from_options(KVSpec, method=method, keep=one, precision=precision, options=options)
        for one in budgets
    ]
    for setting in settings:
        check_kv(setting)
    return settings
