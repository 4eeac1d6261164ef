"""The executor on Ray: the driver owns the queue and tells the actors what to do.

Ray restarts and retries nothing here (`max_restarts=0`). Its own engines were tested on items that
kill their worker: `ActorPool` loses the items behind them without an error, and Ray Data retries
them forever.
"""

import logging
import pickle
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayError

from encodeonce.jobs.execution.executor import (
    WorkerFactory,
    WorkerStartError,
    describe,
    require_no_stop,
)
from encodeonce.jobs.execution.metrics import Metrics, RayMetrics
from encodeonce.jobs.execution.queue import Chunk, WorkQueue
from encodeonce.jobs.execution.ray_cluster import (
    Cluster,
    connected,
    num_fitting,
    require_room,
    worker_env,
)
from encodeonce.jobs.execution.ray_head import ASK_EVERY_S, Head, require_a_node
from encodeonce.jobs.execution.ray_worker import Started, WorkerHost
from encodeonce.jobs.execution.work import (
    LOST,
    OVERDUE,
    Attempt,
    ItemError,
    Limits,
    Outcome,
    WorkError,
    WorkItem,
)
from encodeonce.jobs.execution.worker_log import list_worker

logger = logging.getLogger(__name__)

_PATIENCE_S = 30.0
"""How long the driver waits for news before it logs what it waits for."""
_CLOSE_S = 10.0
"""How long workers get to close at the end of a run."""
_ROUNDS_OF_STARTS = 3
"""Failed starts in a row, per worker wanted, after which no more are tried."""


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

    def run(self, items: Sequence[WorkItem], make_worker: WorkerFactory) -> Iterator[Outcome]:
        """Yield one outcome for each item; see `Executor.run`.

        Raises:
            ClusterError: the cluster does not answer, or no node is large enough for a worker.
            ClusterLost: its head stopped answering, or its last node is gone.
        """
        queue = WorkQueue(items, self.limits)
        with connected(self.cluster, self.num_workers, self.num_cpus):
            require_room(self.num_cpus, self.num_gpus, self.memory_bytes)
            crew = _Crew(self, make_worker)
            try:
                yield from _work_off(queue, crew, self.num_workers)
            except BaseException:
                # Whoever ends early does not wait: what workers have stored is durable.
                crew.kill()
                raise
            crew.dismiss()


def _work_off(queue: WorkQueue, crew: "_Crew", num_workers: int) -> Iterator[Outcome]:
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


class _Answer(NamedTuple):
    worker: str
    chunk: Chunk
    attempts: list[Attempt]


class _Crew:
    """The actors of one run, as the driver sees them.

    A worker is known by the ids of its node and of its actor. People are shown ``host:pid``, which
    two workers may share: containers of one hostname have process ids of their own.
    """

    def __init__(self, plan: RayExecutor, make_worker: WorkerFactory) -> None:
        self._actor_class: Any = ray.remote(WorkerHost).options(
            num_cpus=plan.num_cpus,
            num_gpus=plan.num_gpus,
            memory=plan.memory_bytes or None,
            max_restarts=0,
            max_task_retries=0,
            runtime_env=worker_env(plan.num_cpus, plan.env_vars),
        )
        self._factory = _pickled(make_worker)
        self._log_folder, self._metrics = plan.log_folder, plan.metrics
        self._head = Head(may_return=plan.cluster.address is not None)
        self._starting: dict[ray.ObjectRef[Any], Any] = {}
        self._actors: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        """``host:pid`` of every worker there ever was."""
        self._calls: dict[ray.ObjectRef[Any], tuple[str, Chunk]] = {}
        """Oldest first: answers are read in the order in which chunks were sent."""
        self._num_failed_starts = 0
        self._max_failed_starts = _ROUNDS_OF_STARTS * plan.num_workers
        self._start_error = ""
        self._has_started = False

    def hire(self, num_workers: int) -> None:
        """Start actors until there are ``num_workers``, unless starts keep failing.

        Raises:
            WorkerStartError: starts keep failing, and no worker is left.
        """
        if self._num_failed_starts < self._max_failed_starts:
            while len(self._actors) + len(self._starting) < num_workers:
                actor = self._actor_class.remote()
                self._starting[actor.start.remote(self._factory, self._log_folder)] = actor
        elif not self._actors and not self._starting:
            raise WorkerStartError(f"no worker could be made: {self._start_error}")

    def hand_out(self, queue: WorkQueue) -> None:
        """Send chunks until the queue has none to give; first chunks before second ones."""
        hungry = list(self._actors)
        while hungry:
            for worker in tuple(hungry):
                chunk = queue.take(worker, time.monotonic())
                if chunk is None:
                    hungry.remove(worker)
                else:
                    call = self._actors[worker].do.remote(chunk.items)
                    self._calls[call] = worker, chunk

    def wait(self, until_s: float) -> tuple[list[_Answer], dict[str, ItemError]]:
        """Wait for news until ``until_s``; return answers, oldest first, and reasons for losses."""
        answers: list[_Answer] = []
        lost: dict[str, ItemError] = {}
        for ref in self._ready(min(until_s - time.monotonic(), _PATIENCE_S)):
            if ref in self._starting:
                self._meet(ref)
                continue
            worker, chunk = self._calls.pop(ref)
            try:
                answers.append(_Answer(worker, chunk, ray.get(ref)))
            except RayError as error:
                lost[worker] = ItemError(type=LOST, message=_last_line(error))
        return answers, lost

    def signed(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Return the queue's outcomes with workers' names in place of their ids."""
        return [replace(one, worker=self._names[one.worker]) for one in outcomes]

    def remove(self, worker: str) -> None:
        """Kill a worker, unless it is dead already, and forget its chunks."""
        ray.kill(self._actors.pop(worker))
        self._metrics.workers(len(self._actors))
        self._calls = {ref: call for ref, call in self._calls.items() if call[0] != worker}

    def dismiss(self) -> None:
        """Let idle workers close, then kill all."""
        busy = {worker for worker, _ in self._calls.values()}
        idle = [actor for worker, actor in self._actors.items() if worker not in busy]
        if idle:
            closing = [actor.close.remote() for actor in idle]
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_S)
        self.kill()

    def kill(self) -> None:
        """Kill all workers, whatever they do."""
        for actor in (*self._actors.values(), *self._starting.values()):
            ray.kill(actor)

    def _ready(self, timeout_s: float) -> list[ray.ObjectRef[Any]]:
        refs = [*self._starting, *self._calls]
        until_s = time.monotonic() + max(0.0, timeout_s)
        ready: list[ray.ObjectRef[Any]] = []
        while not ready:
            self._head.require()
            if not self._actors:
                require_a_node()
            left_s = max(0.0, until_s - time.monotonic())
            patience_s = min(left_s, ASK_EVERY_S)
            if refs:
                ready, _ = ray.wait(refs, num_returns=1, timeout=patience_s)
            else:  # all that is left waits to be tried again
                time.sleep(patience_s)
            if left_s <= ASK_EVERY_S:
                break
        if ready:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        elif not self._actors:
            logger.warning("no worker is ready: %d load or wait for resources", len(self._starting))
        return ready

    def _meet(self, ref: ray.ObjectRef[Any]) -> None:
        """Register a worker that has started, or note why it has not."""
        actor = self._starting.pop(ref)
        try:
            started: Started | ItemError = ray.get(ref)
        except RayActorError as error:
            started = ItemError(type=LOST, message=_last_line(error))
        except RayError as error:
            started = describe(error)
        if isinstance(started, Started):
            self._actors[started.id] = actor
            self._names[started.id] = started.name
            self._metrics.workers(len(self._actors))
            about = {"worker": started.name, "node": started.node, "actor": started.actor}
            list_worker(self._log_folder, {**about, "gpus": started.gpus, "log": started.log})
            self._num_failed_starts = 0
            self._has_started = True
            return
        ray.kill(actor)
        self._start_error = f"{started.type}: {started.message}\n{started.traceback}".rstrip()
        logger.warning("a worker could not be made: %s", self._start_error)
        self._num_failed_starts += 1
        # A constructor that raises in the first worker raises in all; in a replacement it may have
        # met what its predecessor left (GPU memory not yet released).
        if started.type != LOST and not self._has_started:
            self._num_failed_starts = self._max_failed_starts


def _pickled(make_worker: WorkerFactory) -> bytes:
    try:
        factory: bytes = ray.cloudpickle.dumps(make_worker)  # type: ignore[no-untyped-call]
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise WorkError(
            f"{make_worker!r} cannot be sent to another process ({error}): give a top-level class "
            "or functools.partial of one, with arguments that are names, not open objects"
        ) from error
    return factory


def _last_line(error: RayError) -> str:
    """Return Ray's reason; the lines before it are ids."""
    return str(error).rstrip().splitlines()[-1].strip()
