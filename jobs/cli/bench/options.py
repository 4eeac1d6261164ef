"""What the benchmarks of models take from the command line: a model, and something to look at."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console

from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.harness.bench.scene import SceneSpec
from encodeonce.models.checkpoint.files import device as device_of
from encodeonce.models.spec import ModelSpec, VisionSpec
from encodeonce.models.synthetic import llava, longva, vila
from encodeonce.models.synthetic.llava import write_random_llava
from encodeonce.models.synthetic.longva import write_random_longva
from encodeonce.models.synthetic.media import write_picture, write_video
from encodeonce.models.synthetic.vila import write_random_vila

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
FRAMES_APART = 8
"""A made-up video has so many frames for each that is looked at."""

Write = Callable[[Path, torch.dtype, torch.device], Path]
SHAPES: Mapping[str, Write] = {
    "llava-tiny": partial(write_random_llava, llava.TINY),
    "llava-small": partial(write_random_llava, llava.SMALL),
    "llava-1.5-7b": partial(write_random_llava, llava.LLAVA_1_5_7B),
    "longva-tiny": partial(write_random_longva, longva.TINY),
    "longva-7b": partial(write_random_longva, longva.LONGVA_7B),
    "vila-tiny": partial(write_random_vila, vila.TINY),
    "vila1.5-3b": partial(write_random_vila, vila.VILA_1_5_3B),
}


Model = Annotated[str, typer.Option(help="Folder or hub id of a checkpoint, or 'demo'.")]
Random = Annotated[
    str | None,
    typer.Option(
        help=f"Instead of a checkpoint, a shape with random weights: {', '.join(SHAPES)}."
    ),
]
Shown = Annotated[
    Path | None,
    typer.Option(
        help="Picture or video; by default a picture of noise, or a video if --frames is given."
    ),
]
NumFrames = Annotated[int | None, typer.Option(help="Frames of a video; 8.", min=1)]
NumRuns = Annotated[int, typer.Option(help="Runs to take medians over.", min=1)]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"], typer.Option(help="Compute precision.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Write all measurements as JSON: to a file, or to a folder, under a name by date, "
        "model and hardware."
    ),
]


def scene_spec(
    *,
    spec: ModelSpec,
    random: str | None,
    vision: VisionSpec,
    media: Path | None,
    frames: int | None,
    folder: Path,
    console: Console,
) -> SceneSpec:
    """Return what is measured on; random weights and made-up media are written to ``folder``.

    Raises:
        ValueError: there is no such shape or media.
    """
    name = random or Path(spec.path).name
    shown = _made_up(folder, frames) if media is None else _existing(media)
    if random is not None:
        spec = _with_random_weights(random, spec, folder, console)
    return SceneSpec(
        model=spec,
        model_name=name,
        vision=vision,
        media=shown,
        kind="video" if shown.suffix.lower() in VIDEO_SUFFIXES else "image",
        frames=UniformInclusive(num_frames=frames or 8),
        folder=folder / "cache",
    )


def _with_random_weights(shape: str, spec: ModelSpec, folder: Path, console: Console) -> ModelSpec:
    if shape not in SHAPES:
        raise ValueError(f"--random {shape!r}: no such shape; allowed: {', '.join(SHAPES)}")
    if spec.path != "demo":
        raise ValueError(f"--random {shape} stands in for a checkpoint; leave out --model")
    with console.status(f"drawing the weights of {shape}"):
        written = SHAPES[shape](folder / shape, getattr(torch, spec.dtype), device_of(spec))
    return spec.model_copy(update={"path": str(written)})


def _made_up(folder: Path, frames: int | None) -> Path:
    if frames is None:
        return write_picture(folder / "noise.png")
    return write_video(folder / "noise.mp4", FRAMES_APART * frames)


def _existing(media: Path) -> Path:
    if not media.is_file():
        raise ValueError(f"--media {media}: there is no such file")
    return media


def writable(output: Path, name: str) -> Path:
    """Return the file to write; that it can be written is found out before hours are spent."""
    path = output / name if output.is_dir() else output
    if not path.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {path.parent}")
    return path


def write_measurements(path: Path | None, content: Mapping[str, Any], console: Console) -> None:
    """Write what was measured, if it is asked for, and say where."""
    if path is not None:
        path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        console.print(f"all measurements: {path}", highlight=False, soft_wrap=True)
