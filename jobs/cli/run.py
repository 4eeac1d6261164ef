"""``encodeonce run``, and its stages alone: ``precompute``, ``eval``.

torch is imported once the run file has been read: that takes seconds, and finding a mistake in the
file needs none of it.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.read_config import load_config
from encodeonce.jobs.cli.report import finish
from encodeonce.jobs.cli.run_options import Output, RayAddress
from encodeonce.jobs.cli.user_errors import stop, user_errors

if TYPE_CHECKING:
    from encodeonce.jobs.pipeline import Pipeline

RunFile = Annotated[
    Path,
    typer.Argument(metavar="RUN.yaml", help="Run file; `encodeonce schema` explains its keys."),
]


def run(path: RunFile, ray_address: RayAddress = None, output: Output = None) -> None:
    """Encode what is missing, answer all questions, and report. Run it again to resume."""
    with user_errors():
        config = _load(path, output)
        _check_device(path, config, ray_address)
        with _running(config, ray_address) as pipeline:
            pipeline.precompute()
            pipeline.check_uncached()
            pipeline.evaluate()
        finish(pipeline.folder, work=pipeline.work)


def precompute(
    path: RunFile,
    ray_address: RayAddress = None,
    output: Output = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how much the store has and lacks.")
    ] = False,
) -> None:
    """Put the features of all media of a run into the store."""
    with user_errors():
        config = _load(path, output)
        if dry_run:
            from encodeonce.jobs.cli.coverage import coverage_of, print_coverage

            coverage = coverage_of(config)
            print_coverage(coverage, path, config)
            raise typer.Exit(1 if coverage.errors else 0)
        _check_device(path, config, ray_address)
        with _running(config, ray_address) as pipeline:
            pipeline.precompute()
        finish(pipeline.folder, work=pipeline.work)


def evaluate(path: RunFile, ray_address: RayAddress = None, output: Output = None) -> None:
    """Answer all questions of a run from stored features, and report."""
    with user_errors():
        config = _load(path, output)
        _check_device(path, config, ray_address)
        if config.cache.on_miss == "error":
            from encodeonce.jobs.cli.coverage import coverage_of, print_coverage

            coverage = coverage_of(config)
            if not coverage.is_complete:
                print_coverage(coverage, path, config)
                stop("evaluation needs features that are not in the store (cache.on_miss: error)")
        with _running(config, ray_address) as pipeline:
            pipeline.check_uncached()
            pipeline.evaluate()
        finish(pipeline.folder, work=pipeline.work)


def _load(path: Path, output: Path | None) -> RunConfig:
    config = load_config(path)
    return config if output is None else config.model_copy(update={"output": output})


def _check_device(path: Path, config: RunConfig, ray_address: str | None) -> None:
    """Refuse a device that the workers lack, where they are on this machine."""
    if config.workers.executor == "local" or not ray_address:
        from encodeonce.harness.run.check_device import check_device

        check_device(path, config)


def _running(config: RunConfig, ray_address: str | None) -> AbstractContextManager["Pipeline"]:
    from encodeonce.jobs.cli.running import running

    return running(config, ray_address)
