"""``encodeonce vlmevalkit``: runs VLMEvalKit's run.py; our models answer from the store."""

from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.bridges.vlmevalkit.launch import as_script, find_script, register, run
from encodeonce.harness.bridges.vlmevalkit.run_file import KitConfig
from encodeonce.harness.bridges.vlmevalkit.tally import Tally
from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.run.check_device import check_device
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.jobs.cli.user_errors import stop, user_errors


def vlmevalkit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN.yaml", help="Run file: model, frames and store; it needs no output folder."
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="...", help="Arguments of run.py: --data … --model encodeonce …"),
    ] = None,
    kit: Annotated[
        Path | None,
        typer.Option(
            envvar="VLMEVALKIT", help="Folder of a VLMEvalKit checkout.", show_envvar=True
        ),
    ] = None,
) -> None:
    """Run VLMEvalKit on its benchmarks and ours, with answers from stored features."""
    tally = Tally()
    with user_errors():
        config = load_run_file(path, KitConfig)
        check_device(path, config)
        if kit is None:
            stop(
                "where is VLMEvalKit? Name its checkout with --kit, before the run file, or in the "
                "environment variable VLMEVALKIT"
            )
        script = find_script(kit)
    if config.unused:
        _say(f"keys not used under VLMEvalKit: {', '.join(config.unused)}")
    if len(config.models) > 1:
        _say(f"models: {', '.join(config.models)}")
    with as_script(script, arguments or []):
        with user_errors():
            register(config, tally)
        try:
            run(script)
        finally:
            for line in tally.lines():
                _say(line)
    if tally.failures:
        stop(f"{human_count(tally.failures.total(), 'question')} could not be answered")


def _say(line: str) -> None:
    console = PlainConsole(stderr=True)
    console.print(f"encodeonce: {line}", soft_wrap=True)
