"""The protocols of workers and executors, and one attempt at one item.

`tests/contracts/executor.py` is the suite that an executor's tests inherit.
"""

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from encodeonce.cache_store.store import StoreNotWritable
from encodeonce.datasets.refusal_words import told
from encodeonce.harness.run.passing import may_pass
from encodeonce.jobs.execution.metrics import Metrics
from encodeonce.jobs.execution.work import Attempt, ItemError, Outcome, Verdict, WorkItem

logger = logging.getLogger(__name__)


class RetryableError(Exception):
    """Raised by a worker for an error that may pass, where no `OSError` says so.

    Any exception for which `may_pass` is false is the item's own fault and is not tried again.
    """


class WorkerStartError(RuntimeError):
    """No worker could be made, so no item can be tried."""


class WorkStopped(RuntimeError):
    """What every later item would meet too. Outcomes so far have been yielded."""


class ClusterLost(WorkStopped):
    """The cluster was there, and is not any more."""


class Worker(Protocol):
    """Does the work, one payload after another, in a process of its own.

    A worker that finds its process unusable (a CUDA context after an illegal access) raises
    `SystemExit`: the item is tried again in a new process.
    """

    def do(self, payload: Any) -> Any:
        """Return a JSON value.

        Whatever the value reports must be durable by then: the process may die before `close`.

        Raises:
            RetryableError: worth another attempt, as is any error of which `may_pass` is true.
            StoreNotWritable: no item can be finished; the run stops.
            Exception: this item fails; the worker is fit for the next one.
        """
        ...

    def expect(self, payload: Any) -> None:
        """Start preparing, on another thread, the payload that `do` gets next.

        Called before `do` of the current payload. An error is raised by the `do` it belongs to.
        """
        ...

    def close(self) -> None:
        """Release what the worker holds."""
        ...


WorkerFactory = Callable[[], Worker]
"""Makes a worker in the worker's process: picklable, e.g. `functools.partial` of its class."""


OnWorkers = Callable[[int, int], None]
"""Called with the numbers of workers that are ready, and that are asked for."""


def ignore_workers(ready: int, wanted: int) -> None:
    """Do nothing."""


class Executor(Protocol):
    """Runs items on workers and yields their outcomes in the order they end."""

    @property
    def metrics(self) -> Metrics:
        """Where what a run has done is counted."""
        ...

    def run(
        self,
        items: Sequence[WorkItem],
        make_worker: WorkerFactory,
        on_workers: OnWorkers = ignore_workers,
    ) -> Iterator[Outcome]:
        """Yield one outcome for each item. Closing the iterator stops the workers.

        Args:
            items: the work.
            make_worker: makes a worker where it works.
            on_workers: is told how many workers are ready, whenever that changes.

        Raises:
            WorkError: two items have the same id.
            WorkerStartError: no worker could be made; carries the cause's type and message.
            WorkStopped: a worker raised `StoreNotWritable`, and this carries its message; or the
                cluster was lost.
        """
        ...


def attempt_all(worker: Worker, items: Sequence[WorkItem]) -> list[Attempt]:
    """Let ``worker`` do a chunk's items in turn, announcing each next one, until one says stop."""
    attempts = []
    for number, item in enumerate(items):
        for following in items[number + 1 : number + 2]:
            worker.expect(following.payload)
        attempts.append(attempt(worker, item))
        if attempts[-1].verdict == "stop":
            break
    return attempts


def require_no_stop(attempts: Sequence[Attempt]) -> None:
    """Check that a worker may go on after these attempts.

    Raises:
        WorkStopped: it may not.
    """
    if attempts and attempts[-1].verdict == "stop":
        assert attempts[-1].error is not None
        raise WorkStopped(attempts[-1].error.message)


def attempt(worker: Worker, item: WorkItem) -> Attempt:
    """Let ``worker`` do ``item`` and catch what it raises."""
    start_s = time.perf_counter()
    value: Any = None
    error: ItemError | None = None
    verdict: Verdict = "ok"
    try:
        # Converted to JSON here, where a value that cannot be written still fails only this item.
        value = json.loads(json.dumps(worker.do(item.payload), allow_nan=False))
    except RetryableError as caught:
        verdict, error = "retry", describe(caught)
    except StoreNotWritable as caught:
        verdict, error = "stop", describe(caught)
    except Exception as caught:
        verdict, error = "retry" if may_pass(caught) else "failed", describe(caught)
    seconds = time.perf_counter() - start_s
    logger.info("%s: %s after %.2f s", item.id, verdict, seconds)
    return Attempt(item=item.id, verdict=verdict, value=value, error=error, seconds=seconds)


def describe(error: BaseException) -> ItemError:
    """Return an exception's type, message and traceback."""
    return ItemError(
        type=type(error).__name__,
        message=told(error),
        traceback="".join(traceback.format_exception(error)),
    )


def close_quietly(worker: Worker) -> None:
    """Close ``worker``; log what it raises, since its items have their outcomes already."""
    try:
        worker.close()
    except Exception:
        logger.exception("worker could not be closed")
