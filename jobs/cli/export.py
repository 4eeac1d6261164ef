"""``encodeonce export``: writes a run's records in other programs' formats."""

from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.bridges.export_formats import find_export, formats
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.results.export import read_run
from encodeonce.jobs.cli.user_errors import user_errors


def export(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    to: Annotated[str, typer.Option(help=f"Format: {', '.join(formats())}.")],
    output: Annotated[Path, typer.Option(help="Folder to write to.")],
) -> None:
    """Write a run's records as tables, or as other harnesses would; files for each variant."""
    with user_errors():
        write = find_export(to)
        written = [path for variant in read_run(folder) for path in write(variant, output)]
    for path in written:
        PlainConsole().print(str(path), soft_wrap=True)
