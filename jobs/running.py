"""A run's pipeline while it works: whatever ends it early, the user is told what is kept."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from encodeonce.harness.results.work import Work, kept
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import LOGS
from encodeonce.harness.run.output_error import OutputError
from encodeonce.jobs.execution.display import Display, on_stderr
from encodeonce.jobs.execution.executor import WorkStopped
from encodeonce.jobs.execution.select import executor_for
from encodeonce.jobs.interrupts import interruptible
from encodeonce.jobs.pipeline import Pipeline


class EndedEarly(ValueError):
    """A run ended before its work was done; the message says what is kept."""


@contextmanager
def running(
    config: RunConfig, ray_address: str | None, display: Display | None = None
) -> Iterator[Pipeline]:
    """Yield a run's pipeline, with its executor, and its folder locked.

    Args:
        config: the run.
        ray_address: of a cluster to join.
        display: where progress is shown; by default on standard error.

    Raises:
        EndedEarly: the disk is full, the store refuses, or the cluster was lost.
        ValueError: the run cannot begin.
    """
    work: Work = {}
    with (
        interruptible(lambda: kept(work)) as answer_sigterm,
        nullcontext(display) if display is not None else on_stderr() as shown,
        executor_for(config.workers, ray_address, shown, config.output / LOGS) as executor,
    ):
        answer_sigterm()
        shown.phase("reading benchmarks and checkpoint")
        pipeline = Pipeline(config, executor, shown)
        work = pipeline.work
        with pipeline.folder:
            try:
                yield pipeline
            except (OutputError, WorkStopped) as error:
                raise EndedEarly(f"{error}; {kept(work)}") from error
