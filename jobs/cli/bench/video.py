"""``encodeonce bench video``: compares the readers of videos."""

from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.bench.video.measure import VideoBench, run_video_bench
from encodeonce.harness.bench.video.report import sections, to_json
from encodeonce.jobs.cli.bench.measuring import measuring, status_line
from encodeonce.jobs.cli.bench.options import NumRuns, Output


def video(
    media: Annotated[
        list[Path] | None,
        typer.Option(
            help="A video of yours. Can be repeated. By default clips are made whose frames carry "
            "their numbers."
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="Of the clips, WIDTHxHEIGHT.")] = "640x360",
    frames: Annotated[int, typer.Option(help="Of each clip.", min=2, max=65_535)] = 600,
    runs: NumRuns = 3,
    output: Output = None,
) -> None:
    """Compare PyAV, torchcodec and decord: whether frames are those asked for, frames/s."""
    with measuring("video", output) as run:
        width, height = _size(size)
        bench = VideoBench(
            videos=tuple(media or ()),
            width=width,
            height=height,
            num_frames=frames,
            num_runs=runs,
            folder=run.folder,
        )
        with status_line() as on_step:
            result = run_video_bench(bench, on_step)
        run.report(sections(result), to_json(result))


def _size(text: str) -> tuple[int, int]:
    """Return width and height.

    Raises:
        ValueError: the text does not say them, or a clip cannot have them.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"--size {text}: must be WIDTHxHEIGHT, e.g. 640x360")
    width, height = map(int, parts)
    if width % 2 or height % 2 or width < 64 or height < 64 or max(width, height) > 8192:
        raise ValueError(f"--size {text}: both must be even, and from 64 to 8192")
    return width, height
