"""``encodeonce calibrate``: makes the profiles that some KV methods need, offline."""

from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.report.plain_console import PlainConsole, plain_text
from encodeonce.harness.run.check_device import check_device
from encodeonce.harness.run.read_config import load_config
from encodeonce.harness.training.prefixkv import calibrate_prefixkv
from encodeonce.jobs.cli.user_errors import user_errors

calibrate_app = typer.Typer(
    help="Calibrate KV-compression methods on samples of a run file.", no_args_is_help=True
)
console = PlainConsole()


@calibrate_app.callback()
def _group() -> None:
    """Keep `prefixkv` a subcommand while it is the only one."""


@calibrate_app.command()
def prefixkv(
    path: Annotated[
        Path, typer.Argument(metavar="RUN.yaml", help="Run file: model, benchmarks and store.")
    ],
    output: Annotated[Path, typer.Option(help="JSON file to write.")],
    keep: Annotated[
        list[float] | None,
        typer.Option(help="Budget to calibrate for. Can be repeated. [default: 0.1 to 0.9]"),
    ] = None,
    num_samples: Annotated[
        int, typer.Option(min=1, help="Number of samples, from as many media items as possible.")
    ] = 10,
) -> None:
    """Measure how much of its prompt each layer keeps, for PrefixKV's option ``profile``."""
    with user_errors():
        budgets = sorted(set(keep)) if keep else [n / 10 for n in range(1, 10)]
        if wrong := [budget for budget in budgets if not 0.0 < budget <= 1.0]:
            raise ValueError(f"--keep is a fraction above 0, at most 1; got {wrong[0]:g}")
        config = load_config(path)
        check_device(path, config)
        with console.status("") as status:
            profile = calibrate_prefixkv(
                config,
                num_samples,
                budgets,
                lambda name: status.update(plain_text(f"reading {name}")),
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(profile.model_dump_json(indent=2) + "\n", encoding="utf-8")
    console.print(
        f"{output}: {len(next(iter(profile.layers.values())))} layers, "
        f"budgets {', '.join(profile.layers)}, from {num_samples} samples",
    )
    console.print(
        f"use it in a run file: kv: [{{method: prefixkv, keep: {budgets[0]:g}, "
        f"options: {{profile: {output}}}}}]",
        soft_wrap=True,
    )
