"""``encodeonce run``, and its stages alone: ``precompute``, ``eval``.

torch is imported once the run file has been read: that takes seconds, and finding a mistake in the
file needs none of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.jobs.afterwards import check_afterwards, judge_if_asked
from encodeonce.jobs.cli.report import finish
from encodeonce.jobs.cli.run_options import How, RayAddress, RunOptions, with_run_options
from encodeonce.jobs.cli.user_errors import stop, user_errors
from encodeonce.jobs.execution.display import on_stderr
from encodeonce.jobs.execution.select import uses_ray

if TYPE_CHECKING:
    from encodeonce.jobs.pipeline import Pipeline


@with_run_options
def run(options: RunOptions, ray_address: RayAddress = None, progress: How = "auto") -> None:
    """Encode what is missing, answer all questions, and report. Run it again to resume."""
    with user_errors():
        config = options.load()
        check_afterwards(config)
        _check_device(options, config, ray_address)
        with _running(config, ray_address, progress) as pipeline:
            pipeline.precompute()
            pipeline.check_uncached()
            pipeline.evaluate()
        failed = judge_if_asked(config, pipeline.folder, progress)
        finish(pipeline.folder, work=pipeline.work, also=failed, log=True)


@with_run_options
def precompute(
    options: RunOptions,
    ray_address: RayAddress = None,
    progress: How = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how much the store has and lacks.")
    ] = False,
    engine: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="ENGINE",
            help="Who will read them: runs (transformers), or vLLM's server (vllm).",
        ),
    ] = "transformers",
) -> None:
    """Put the features of all media of a run into the store."""
    with user_errors():
        config = options.load()
        if engine == "vllm":
            _fill_for_vllm(config, dry_run=dry_run)
            return
        if engine != "transformers":
            raise ConfigError(f"--for {engine}: allowed: transformers, vllm")
        if dry_run:
            from encodeonce.jobs.cli.coverage import coverage_of, print_coverage

            coverage = coverage_of(config)
            print_coverage(coverage, config, options.command("precompute"))
            raise typer.Exit(1 if coverage.errors else 0)
        _check_device(options, config, ray_address)
        with _running(config, ray_address, progress) as pipeline:
            pipeline.precompute()
        finish(pipeline.folder, work=pipeline.work)


@with_run_options
def evaluate(options: RunOptions, ray_address: RayAddress = None, progress: How = "auto") -> None:
    """Answer all questions of a run from stored features, and report."""
    with user_errors():
        config = options.load()
        check_afterwards(config)
        _check_device(options, config, ray_address)
        if config.cache.on_miss == "error":
            from encodeonce.jobs.cli.coverage import coverage_of, print_coverage

            coverage = coverage_of(config)
            if not coverage.is_complete:
                print_coverage(coverage, config, options.command("precompute"))
                stop("evaluation needs features that are not in the store (cache.on_miss: error)")
        with _running(config, ray_address, progress) as pipeline:
            pipeline.check_uncached()
            pipeline.evaluate()
        failed = judge_if_asked(config, pipeline.folder, progress)
        finish(pipeline.folder, work=pipeline.work, also=failed, log=True)


def _fill_for_vllm(config: RunConfig, *, dry_run: bool) -> None:
    from encodeonce.harness.bridges.vllm.fill import fill, said

    if dry_run:
        raise ConfigError("--dry-run: only vLLM knows its keys; leave it out, or --for vllm")
    filled = fill(config, lambda done, of: typer.echo(f"{done} of {of} media", err=True))
    typer.echo(said(filled, config.cache.path))


def _check_device(options: RunOptions, config: RunConfig, ray_address: str | None) -> None:
    """Refuse a device that the workers lack, where they are on this machine."""
    if not ray_address or not uses_ray(config.workers, ray_address):
        from encodeonce.harness.run.check_device import check_device

        check_device(options.path, config, options.overrides())


@contextmanager
def _running(config: RunConfig, ray_address: str | None, progress: str) -> "Iterator[Pipeline]":
    with on_stderr(progress) as display:
        display.phase("loading libraries")
        from encodeonce.jobs.running import running

        with running(config, ray_address, display) as pipeline:
            yield pipeline
