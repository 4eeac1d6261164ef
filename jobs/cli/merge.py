"""``encodeonce merge``: adapters into checkpoints that any program loads."""

from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.jobs.cli.specs import from_options
from encodeonce.jobs.cli.user_errors import user_errors
from encodeonce.models.adapters.into_checkpoint import merge_adapter
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.spec import ModelSpec

merge_app = typer.Typer(help="Merge adapters into checkpoints.", no_args_is_help=True)
console = PlainConsole()


@merge_app.callback()
def _group() -> None:
    """Keep `adapter` a subcommand while it is the only one."""


@merge_app.command()
def adapter(
    folder: Annotated[str, typer.Argument(help="Folder or hub id of an adapter that peft wrote.")],
    output: Annotated[Path, typer.Argument(help="Folder to write the checkpoint to.")],
    model: Annotated[str, typer.Option(help="Folder or hub id of the adapter's base, or 'demo'.")],
) -> None:
    """Write a checkpoint with a LoRA adapter in its weights, the tower's included."""
    with user_errors():
        spec = from_options(AdapterSpec, path=folder)
        base = from_options(ModelSpec, path=model)
        with console.status("merging"):
            merged = merge_adapter(spec, base, output)
        console.print(f"{output}: {human_count(len(merged.modules), 'layer')} changed")
        console.print(f"use it in a run file: model: {{path: {output}}}", soft_wrap=True)
