"""``encodeonce export``: writes a run's records in other programs' formats."""

from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.bridges.export_formats import find_export, formats
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.results.export import ExportError, read_run
from encodeonce.jobs.cli.user_errors import user_errors


def export(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    to: Annotated[str, typer.Option(help=f"Format: {', '.join(formats())}.")],
    output: Annotated[Path, typer.Option(help="Folder to write to.")],
    repo: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME", help="Of --to hub: also upload the folder, as a data set."
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="A data set that is made is public, not private.")
    ] = False,
) -> None:
    """Write a run's records as tables, or as other harnesses would; files for each variant."""
    with user_errors():
        write = find_export(to)
        if to != "hub" and (repo is not None or public):
            raise ExportError(f"--repo and --public are options of --to hub; got --to {to}")
        for path in write(read_run(folder), output):
            PlainConsole().print(str(path), soft_wrap=True)
        if repo is not None:
            from encodeonce.harness.bridges.hub_upload import upload

            PlainConsole().print(upload(output, repo, is_private=not public), soft_wrap=True)
