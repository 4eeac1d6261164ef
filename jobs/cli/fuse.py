"""``encodeonce fuse``: packs several skills into few adapters."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.run.check_device import check_device
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.training.fusion.config import FuseConfig
from encodeonce.harness.training.fusion.fuse import FUSED, LOG, RESULT, Fused, fuse_adapters
from encodeonce.harness.training.fusion.work import BASE_NAME
from encodeonce.jobs.cli.run_options import Output
from encodeonce.jobs.cli.user_errors import stop, user_errors

fuse_app = typer.Typer(help="Pack several skills into few adapters.", no_args_is_help=True)
console = PlainConsole()


@fuse_app.callback()
def _group() -> None:
    """Keep `adapters` a subcommand while it is the only one."""


@fuse_app.command()
def adapters(
    path: Annotated[
        Path, typer.Argument(metavar="FUSE.yaml", help="Run file: model, units with floors, LoRA.")
    ],
    output: Output = None,
) -> None:
    """Train as few LoRA adapters as keep the accuracy of every unit. Repeat it to go on."""
    with user_errors():
        config = load_run_file(path, FuseConfig)
        if output is not None:
            config = config.model_copy(update={"output": output.absolute()})
        check_device(path, config)
        with PlainConsole(stderr=True).status("loading") as status:
            fused = fuse_adapters(config, status.update)
        _say(Path(config.output), fused)
        if fused.missed:
            stop(f"floors are missed: {', '.join(fused.missed)}")


def _say(output: Path, fused: Fused) -> None:
    for one in fused.decisions:
        failing = [name for name, mark in one.marks.items() if not mark.is_met]
        words = "" if not failing else f": below the floor of {', '.join(failing)}"
        console.print(f"{one.unit}: {one.outcome} in {'+'.join(one.members)}{words}")
    _print_table(fused)
    for name, packed in fused.adapters.items():
        console.print(f"{name}: {', '.join(packed.members)}")
    console.print(
        f"use them in a run file: adapters: [none, {{from: {output / RESULT}}}]", soft_wrap=True
    )
    console.print(f"decisions: {output / LOG}", soft_wrap=True)


def _print_table(fused: Fused) -> None:
    table = Table("adapter", *(f"{name}, %" for name in fused.table[FUSED]), "floors met")
    floors = {name: mark.floor for name, mark in fused.table[FUSED].items()}
    table.add_row("floor", *(f"{100 * floor:.1f}" for floor in floors.values()), "")
    for column, marks in fused.table.items():
        title = "base" if column == BASE_NAME else column
        cells = [
            "" if name not in marks else f"{100 * marks[name].accuracy:.1f}" for name in floors
        ]
        met = sum(mark.is_met for mark in marks.values())
        table.add_row(title, *cells, f"{met} of {len(marks)}")
    console.print(table)
