"""The executor for one machine: one worker, in this process, without Ray."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from encodeonce.jobs.execution.executor import (
    OnWorkers,
    Worker,
    WorkerFactory,
    WorkerStartError,
    attempt_all,
    close_quietly,
    describe,
    ignore_workers,
    require_no_stop,
)
from encodeonce.jobs.execution.metrics import Metrics
from encodeonce.jobs.execution.queue import WorkQueue
from encodeonce.jobs.execution.work import LOST, ItemError, Limits, Outcome, WorkItem
from encodeonce.jobs.execution.worker_log import WorkerLog, list_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExecutor:
    """Runs the items one after another in this process.

    It dies with the process, and cannot stop an item that hangs: leases do not apply.
    """

    limits: Limits = field(default_factory=Limits)
    log_folder: Path | None = None
    """Where the worker's log goes."""
    metrics: Metrics = field(default_factory=Metrics)

    def run(
        self,
        items: Sequence[WorkItem],
        make_worker: WorkerFactory,
        on_workers: OnWorkers = ignore_workers,
    ) -> Iterator[Outcome]:
        """Yield one outcome for each item; see `Executor.run`."""
        queue = WorkQueue(items, self.limits)
        name = f"{socket.gethostname()}:{os.getpid()}"
        log = WorkerLog(self.log_folder if queue.num_open else None, name)
        if log.name:
            list_worker(self.log_folder, {"worker": name, "log": log.name})
        worker: Worker | None = None
        try:
            while queue.num_open:
                if worker is None:
                    on_workers(0, 1)
                    worker = _make(make_worker)
                    on_workers(1, 1)
                chunk = queue.take(name, time.monotonic())
                if chunk is None:  # the only worker holds nothing: all that is left rests
                    time.sleep(max(0.0, queue.next_event_s() - time.monotonic()))
                    continue
                try:
                    attempts = attempt_all(worker, chunk.items)
                except SystemExit as gone:
                    worker = None
                    reason = ItemError(type=LOST, message=f"the worker exited: SystemExit({gone})")
                    yield from queue.lose(name, reason, time.monotonic())
                else:
                    yield from queue.finish(name, chunk, attempts, time.monotonic())
                    require_no_stop(attempts)
        finally:
            if worker is not None:
                close_quietly(worker)
            log.close()


def _make(make_worker: WorkerFactory) -> Worker:
    try:
        return make_worker()
    except Exception as error:
        why = describe(error)
        raise WorkerStartError(f"no worker could be made: {why.type}: {why.message}") from error
