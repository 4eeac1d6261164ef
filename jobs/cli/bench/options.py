"""Options that the ``bench`` commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from encodeonce.jobs.cli.bench.scene import NUM_FRAMES, SHAPES

Model = Annotated[str, typer.Option(help="Folder or hub id of a checkpoint, or 'demo'.")]
Random = Annotated[
    str | None,
    typer.Option(
        help=f"Instead of a checkpoint, a shape with random weights: {', '.join(SHAPES)}. "
        "llava-small has 97 M (language model) and 86 M (tower) parameters and 1,024 visual tokens."
    ),
]
Media = Annotated[
    Path | None,
    typer.Option(
        help="Picture or video to measure on. By default a picture of noise, or, if --frames is "
        "given, a video of noise."
    ),
]
NumFrames = Annotated[
    int | None,
    typer.Option(
        help="Number of the video's frames to use.", min=1, show_default=f"{NUM_FRAMES} of a video"
    ),
]
NumRuns = Annotated[int, typer.Option(help="Timed runs; tables show the median.", min=1)]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"], typer.Option(help="Compute precision.")
]
Device = Annotated[str, typer.Option(help="'auto', 'cpu' or 'cuda'.")]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Write all measurements as JSON: to this file, or to a file in this folder, named by "
        "date, what was measured, and hardware."
    ),
]

DiskFolder = Annotated[
    Path | None,
    typer.Option(help="Folder on the disk to measure. [default: the temporary folder]"),
]
