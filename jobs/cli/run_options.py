"""Options of the commands that take a run file."""

from pathlib import Path
from typing import Annotated

import typer

RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="Ray cluster to join: 'auto' or host:port. By default one is started on this machine.",
    ),
]
Output = Annotated[Path | None, typer.Option(help="Output folder, in place of the run file's.")]
