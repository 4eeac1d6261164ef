"""``encodeonce bench costs``: measures what the stages of serving cost, for virtual time."""

from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.bench.costs import run_costs_bench
from encodeonce.harness.bench.costs_report import sections, to_costs
from encodeonce.harness.run.check_device import check_device
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.serving.costs import write_costs
from encodeonce.jobs.cli.bench.measuring import console, measuring, status_line


def costs(
    path: Annotated[
        Path,
        typer.Argument(metavar="RUN.yaml", help="Run file, as `encodeonce bench serve` takes it."),
    ],
    output: Annotated[Path, typer.Option(help="File to write, for `time.costs` of run files.")],
    rounds: Annotated[int, typer.Option(help="Timed rounds; the medians are taken.", min=1)] = 5,
) -> None:
    """Measure the stages of serving at several sizes, and fit coefficients to them."""
    with measuring("costs", None) as run:
        if not output.absolute().parent.is_dir():
            raise ValueError(f"--output {output}: there is no folder {output.absolute().parent}")
        config = load_run_file(path, ServeConfig)
        check_device(path, config)
        with status_line() as on_run:
            result = run_costs_bench(config, rounds, on_run)
        found = to_costs(config, result, run.started)
        run.report(sections(found), {})
        write_costs(output, found)
        console.print(f"costs: {output}", soft_wrap=True)
