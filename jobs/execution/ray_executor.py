"""The executor on Ray: the driver owns the queue and tells the actors what to do.

Ray restarts and retries nothing here (`max_restarts=0`). Its own engines were tested on items that
kill their worker: `ActorPool` loses the items behind them without an error, and Ray Data retries
them forever.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from encodeonce.jobs.execution.executor import (
    OnWorkers,
    WorkerFactory,
    ignore_workers,
    require_no_stop,
)
from encodeonce.jobs.execution.metrics import Metrics, RayMetrics
from encodeonce.jobs.execution.queue import WorkQueue
from encodeonce.jobs.execution.ray_cluster import (
    Cluster,
    connected,
    num_fitting,
    require_room,
    worker_env,
)
from encodeonce.jobs.execution.ray_crew import Crew
from encodeonce.jobs.execution.ray_head import Head
from encodeonce.jobs.execution.work import (
    OVERDUE,
    ItemError,
    Limits,
    Outcome,
    WorkError,
    WorkItem,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayExecutor:
    """Runs items on actors of a Ray cluster, each worker in its own process."""

    num_workers: int
    num_cpus: float = 1.0
    """Cores of one worker; also its number of threads, rounded down to at least one."""
    num_gpus: float = 0.0
    """GPUs of one worker. Below one, workers share a GPU."""
    memory_bytes: int = 0
    """Main memory that Ray sets aside for one worker; 0: it is not counted."""
    cluster: Cluster = field(default_factory=Cluster)
    limits: Limits = field(default_factory=Limits)
    env_vars: Mapping[str, str] = field(default_factory=dict)
    """Environment of the workers; nodes do not inherit this process's."""
    log_folder: Path | None = None
    """Where workers' logs go: a folder that all nodes see."""
    metrics: Metrics = field(default_factory=RayMetrics)
    spare: list[Any] | None = None
    """Actors between two runs: the next run's workers are made in their processes, which have
    imported everything. None: every run begins with new ones."""

    def __post_init__(self) -> None:
        if self.num_workers < 1 or min(self.num_cpus, self.num_gpus, self.memory_bytes) < 0:
            raise WorkError(
                "num_workers must be at least 1, num_cpus, num_gpus and memory_bytes at least 0, "
                f"got {self.num_workers}, {self.num_cpus}, {self.num_gpus} and {self.memory_bytes}"
            )

    def require_room(self) -> None:
        """Check that the connected cluster can hold a worker; say if it cannot hold all.

        Raises:
            ClusterError: no node is large enough for one.
        """
        one = self.num_cpus, self.num_gpus, self.memory_bytes
        require_room(*one)
        room = num_fitting(*one)
        if room < self.num_workers:
            logger.warning(
                "the cluster has room for %d of %d workers; the others start when nodes join",
                *(room, self.num_workers),
            )

    def dismiss(self) -> None:
        """Kill the actors that were kept for another run."""
        for actor in self.spare or ():
            ray.kill(actor)

    def run(
        self,
        items: Sequence[WorkItem],
        make_worker: WorkerFactory,
        on_workers: OnWorkers = ignore_workers,
    ) -> Iterator[Outcome]:
        """Yield one outcome for each item; see `Executor.run`.

        Raises:
            ClusterError: the cluster does not answer, or no node is large enough for a worker.
            ClusterLost: its head stopped answering, or its last node is gone.
        """
        queue = WorkQueue(items, self.limits)
        with connected(self.cluster, self.num_workers, self.num_cpus):
            require_room(self.num_cpus, self.num_gpus, self.memory_bytes)
            crew = Crew(
                {
                    "num_cpus": self.num_cpus,
                    "num_gpus": self.num_gpus,
                    "memory": self.memory_bytes or None,
                    "runtime_env": worker_env(self.num_cpus, self.env_vars),
                },
                make_worker,
                on_workers,
                max_workers=self.num_workers,
                head=Head(may_return=self.cluster.address is not None),
                spare=self.spare,
                log_folder=self.log_folder,
                metrics=self.metrics,
            )
            try:
                yield from _work_off(queue, crew, self.num_workers)
            except BaseException:
                # Whoever ends early does not wait: what workers have stored is durable.
                crew.kill()
                raise
            crew.dismiss()


def _work_off(queue: WorkQueue, crew: Crew, num_workers: int) -> Iterator[Outcome]:
    while queue.num_open:
        crew.hire(min(num_workers, queue.num_open))
        crew.hand_out(queue)
        answers, lost = crew.wait(until_s=queue.next_event_s())
        # Read once: however long the caller takes over an outcome, no lease expires meanwhile.
        now_s = time.monotonic()
        for worker, chunk, attempts in answers:
            yield from crew.signed(queue.finish(worker, chunk, attempts, now_s))
        for answer in answers:
            require_no_stop(answer.attempts)
        for worker in queue.overdue(now_s):
            lost[worker] = ItemError(type=OVERDUE, message="took longer than its lease; killed")
        for worker, reason in lost.items():
            crew.remove(worker)
            yield from crew.signed(queue.lose(worker, reason, now_s))
