"""``encodeonce quantize``: makes a 4- or 8-bit checkpoint that plain transformers loads."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.run.check_device import check_device
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.read_config import load_config
from encodeonce.harness.training.prompts import run_calibration
from encodeonce.jobs.cli.progress_bar import progress_bar
from encodeonce.jobs.cli.specs import model_from_options
from encodeonce.jobs.cli.user_errors import user_errors
from encodeonce.models.checkpoint.files import device as device_of
from encodeonce.models.quantization.grid import Grid
from encodeonce.models.quantization.making.calibration_text import text_calibration
from encodeonce.models.quantization.making.make import Calibration, Made, make_quantized
from encodeonce.models.quantization.making.recipe import SEARCH_TOKENS, Recipe
from encodeonce.models.spec import ModelSpec

console = PlainConsole()


def quantize(
    model: Annotated[str, typer.Argument(help="Folder or hub id of a checkpoint, or 'demo'.")],
    output: Annotated[Path, typer.Argument(help="Folder to write the checkpoint to.")],
    method: Annotated[
        str, typer.Option(help="'awq', or 'rtn' (round to nearest, without calibration).")
    ] = "awq",
    bits: Annotated[int, typer.Option(help="Bits per weight: 4 or 8.")] = 4,
    group_size: Annotated[
        int,
        typer.Option(
            help="Inputs that share a scale; halved until it divides the widths of all layers."
        ),
    ] = 128,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="Use symmetric grids, with zero in the middle.")
    ] = False,
    clip: Annotated[
        bool, typer.Option(help="AWQ: clip large weights where that lowers the error.")
    ] = True,
    text: Annotated[
        Path | None,
        typer.Option(help="Calibrate on a text file, or on JSON Lines with the key 'text'."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Calibrate on the samples of a run file, with features from its store. It also "
            "sets precision and device."
        ),
    ] = None,
    prompts: Annotated[int, typer.Option(help="Number of calibration prompts.", min=1)] = 128,
    tokens: Annotated[
        int, typer.Option(help="Tokens per calibration prompt (with --text).", min=8)
    ] = 512,
    search_tokens: Annotated[
        int, typer.Option(help="AWQ: tokens on which each candidate scale is tried.", min=1)
    ] = SEARCH_TOKENS,
    dtype: Annotated[
        str, typer.Option(help="Compute precision: float32, bfloat16 or float16.")
    ] = "bfloat16",
    device: Annotated[str, typer.Option(help="'auto', 'cpu' or 'cuda'.")] = "auto",
) -> None:
    """Quantise a model's language side by AWQ or round-to-nearest. Run it again to resume."""
    with user_errors():
        recipe = Recipe(
            method=_method(method),
            grid=_grid(bits, group_size, symmetric),
            clips=clip,
            num_search_tokens=search_tokens,
        )
        spec = model_from_options(model, dtype, device)
        calibration: Calibration | None = None
        if text is not None and run is not None:
            raise ValueError("give --text or --run, not both")
        if recipe.is_calibrated and text is None and run is None:
            raise ValueError(
                f"--method {method} needs calibration: give --text FILE or --run RUN.yaml; "
                "--method rtn needs none"
            )
        if text is not None:
            calibration = text_calibration(text, prompts, tokens)
        elif run is not None:
            config = _config_about(run, model)
            spec, calibration = config.model, run_calibration(config, prompts)
        made = _make(spec, recipe, calibration, output)
    _say(made, method, group_size)


def _config_about(run: Path, model: str) -> RunConfig:
    config = load_config(run)
    check_device(run, config)
    if config.model.path != model:
        raise ValueError(
            f"{run} is a run of {config.model.path!r}, not of {model!r}: its features are another "
            "model's"
        )
    return config


def _make(spec: ModelSpec, recipe: Recipe, calibration: Calibration | None, output: Path) -> Made:
    console.print(f"{recipe.method} on {device_of(spec)} in {spec.dtype}")
    first = "loading, and measuring activations"
    with progress_bar("quantising", lambda n: human_count(n, "layer"), first) as on_layer:
        return make_quantized(spec, recipe, calibration, output, on_layer)


def _say(made: Made, method: str, group_size: int) -> None:
    size = made.recipe.grid.group_size
    if size != group_size:
        console.print(
            f"the group size is {size}: {group_size} does not divide the widths of all layers",
            style="yellow",
        )
    console.print(
        f"{made.folder}: its README.md tells how it was made. To evaluate it, put into the run "
        f"file:\nweights: [none, {{method: {method}, path: {made.folder}}}]",
        soft_wrap=True,
    )


def _grid(bits: int, group_size: int, symmetric: bool) -> Grid:
    if bits not in (4, 8):
        raise ValueError(f"--bits: 4 or 8; got {bits}")
    if group_size < 8 or group_size % 8:
        raise ValueError(f"--group-size: a multiple of 8; got {group_size}")
    return Grid(num_bits=bits, group_size=group_size, symmetric=symmetric)


def _method(name: str) -> Literal["awq", "rtn"]:
    if name == "awq":
        return "awq"
    if name == "rtn":
        return "rtn"
    raise ValueError(f"--method: awq or rtn; got {name!r}")
