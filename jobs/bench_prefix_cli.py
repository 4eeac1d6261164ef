"""``encodeonce bench prefix``: what features and shared prefixes save on one picture or video."""

import json
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console

from encodeonce.datasets.made_up import write_picture, write_video
from encodeonce.datasets.sampling import UniformInclusive
from encodeonce.harness.bench_prefix import PrefixBench, run_prefix_bench
from encodeonce.harness.bench_prefix_report import file_name, sections, to_json
from encodeonce.harness.report_terminal import print_report
from encodeonce.jobs.user_errors import user_errors
from encodeonce.models import random_llava, random_longva
from encodeonce.models.checkpoint import device as device_of
from encodeonce.models.random_llava import write_random_llava
from encodeonce.models.random_longva import write_random_longva
from encodeonce.models.spec import ModelSpec, Tap, VisionSpec

console = Console()
QUESTIONS = (
    "What is shown?",
    "How many can be seen?",
    "Which of them is the largest?",
)
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
FRAMES_APART = 8
"""A made-up video has so many frames for each that is looked at."""

Write = Callable[[Path, torch.dtype, torch.device], Path]
SHAPES: Mapping[str, Write] = {
    "llava-tiny": partial(write_random_llava, random_llava.TINY),
    "llava-small": partial(write_random_llava, random_llava.SMALL),
    "llava-1.5-7b": partial(write_random_llava, random_llava.LLAVA_1_5_7B),
    "longva-tiny": partial(write_random_longva, random_longva.TINY),
    "longva-7b": partial(write_random_longva, random_longva.LONGVA_7B),
}


def prefix(
    model: Annotated[
        str, typer.Option(help="Folder or hub id of a checkpoint, or 'demo'.")
    ] = "demo",
    random: Annotated[
        str | None,
        typer.Option(
            help=f"Instead of a checkpoint, a shape with random weights: {', '.join(SHAPES)}. "
            "llava-small has 97 M (language model) and 86 M (tower) parameters and 1,024 visual "
            "tokens."
        ),
    ] = None,
    media: Annotated[
        Path | None,
        typer.Option(
            help="Picture or video; by default a picture of noise, or a video if --frames is given."
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="A question; repeat for more. Three by default.")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a video; 8.", min=1)] = None,
    runs: Annotated[int, typer.Option(help="Runs to take medians over.", min=1)] = 5,
    new_tokens: Annotated[int, typer.Option(help="Tokens of an answer.", min=1)] = 16,
    max_batch: Annotated[
        int, typer.Option(help="Most questions answered together; 1 needs least memory.", min=1)
    ] = 16,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="Compute precision.")
    ] = "bfloat16",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    tap: Annotated[Tap, typer.Option(help="Where features are taken.")] = "projected",
    micro_batch: Annotated[int, typer.Option(help="Units encoded together.", min=1, max=256)] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write all measurements as JSON: to a file, or to a folder, under a name by date, "
            "model and hardware."
        ),
    ] = None,
) -> None:
    """Compare no cache, features, a prefix shared by all questions, and a resident prefix."""
    with tempfile.TemporaryDirectory(prefix="encodeonce-bench-") as folder, user_errors(OSError):
        here = Path(folder)
        now = datetime.now(UTC)
        name = random or Path(model).name
        path = None if output is None else _writable(output, file_name(name, now))
        shown = _made_up(here, frames) if media is None else _existing(media)
        spec = ModelSpec(path=model, dtype=dtype, device=device)
        if random is not None:
            spec = _with_random_weights(random, spec, here)
        bench = PrefixBench(
            model=spec,
            model_name=name,
            vision=VisionSpec(tap=tap, micro_batch=micro_batch),
            media=shown,
            kind="video" if shown.suffix.lower() in VIDEO_SUFFIXES else "image",
            frames=UniformInclusive(num_frames=frames or 8),
            questions=tuple(prompt or QUESTIONS),
            num_runs=runs,
            num_new_tokens=new_tokens,
            max_batch=max_batch,
            folder=here / "cache",
        )
        with console.status("measuring") as status:
            result = run_prefix_bench(bench, lambda way: status.update(f"measuring: {way}"))
        print_report(console, sections(result))
        if path is not None:
            path.write_text(json.dumps(to_json(bench, result, now), indent=2) + "\n", "utf-8")
            console.print(f"all measurements: {path}", highlight=False, soft_wrap=True)


def _with_random_weights(shape: str, spec: ModelSpec, folder: Path) -> ModelSpec:
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


def _writable(output: Path, name: str) -> Path:
    """Return the file to write; that it can be written is found out before hours are spent."""
    path = output / name if output.is_dir() else output
    if not path.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {path.parent}")
    return path
