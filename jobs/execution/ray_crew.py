"""The actors that work on a run: started, given chunks, waited for, replaced, kept or killed."""

import logging
import pickle
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayError

from encodeonce.jobs.execution.executor import OnWorkers, WorkerFactory, WorkerStartError, describe
from encodeonce.jobs.execution.metrics import Metrics
from encodeonce.jobs.execution.queue import Chunk, WorkQueue
from encodeonce.jobs.execution.ray_head import ASK_EVERY_S, Head, require_a_node
from encodeonce.jobs.execution.ray_worker import Started, WorkerHost
from encodeonce.jobs.execution.work import LOST, Attempt, ItemError, Outcome, WorkError
from encodeonce.jobs.execution.worker_log import list_worker

logger = logging.getLogger(__name__)

_PATIENCE_S = 30.0
"""How long the driver waits for news before it logs what it waits for."""
_CLOSE_S = 10.0
"""How long workers get to close at the end of a run."""
_ROUNDS_OF_STARTS = 3
"""Failed starts in a row, per worker wanted, after which no more are tried."""


class Answer(NamedTuple):
    """What a worker says about a chunk."""

    worker: str
    chunk: Chunk
    attempts: list[Attempt]


class Crew:
    """The actors of one run, as the driver sees them.

    A worker is known by the ids of its node and of its actor. People are shown ``host:pid``, which
    two workers may share: containers of one hostname have process ids of their own.
    """

    def __init__(
        self,
        resources: Mapping[str, Any],
        make_worker: WorkerFactory,
        on_workers: OnWorkers,
        *,
        max_workers: int,
        head: Head,
        spare: list[Any] | None,
        log_folder: Path | None,
        metrics: Metrics,
    ) -> None:
        """Begin with no workers.

        Args:
            resources: what Ray gives each.
            make_worker: makes one in its process.
            on_workers: is told how many are ready.
            max_workers: most that there will be.
            head: the cluster's.
            spare: actors of an earlier run; those that are well at the end are put back. None:
                none are kept.
            log_folder: where workers' logs go.
            metrics: is told how many workers there are.
        """
        self._actor_class: Any = ray.remote(WorkerHost).options(
            **resources, max_restarts=0, max_task_retries=0
        )
        self._factory = _pickled(make_worker)
        self._on_workers = on_workers
        self._log_folder, self._metrics = log_folder, metrics
        self._spare = spare
        self._used: set[Any] = set()
        """Actors that worked in an earlier run."""
        self._head = head
        self._starting: dict[ray.ObjectRef[Any], Any] = {}
        self._actors: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        """``host:pid`` of every worker there ever was."""
        self._calls: dict[ray.ObjectRef[Any], tuple[str, Chunk]] = {}
        """Oldest first: answers are read in the order in which chunks were sent."""
        self._num_failed_starts = 0
        self._max_failed_starts = _ROUNDS_OF_STARTS * max_workers
        self._start_error = ""
        self._has_started = False

    def hire(self, num_workers: int) -> None:
        """Start actors until there are ``num_workers``, unless starts keep failing.

        Raises:
            WorkerStartError: starts keep failing, and no worker is left.
        """
        if self._num_failed_starts < self._max_failed_starts:
            while len(self._actors) + len(self._starting) < num_workers and self._head.is_there():
                actor = self._actor()
                self._starting[actor.start.remote(self._factory, self._log_folder)] = actor
            self._on_workers(len(self._actors), num_workers)
        elif not self._actors and not self._starting:
            raise WorkerStartError(f"no worker could be made: {self._start_error}")

    def _actor(self) -> Any:
        if not self._spare:
            return self._actor_class.remote()
        actor = self._spare.pop()
        self._used.add(actor)
        return actor

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

    def wait(self, until_s: float) -> tuple[list[Answer], dict[str, ItemError]]:
        """Wait for news until ``until_s``; return answers, oldest first, and reasons for losses."""
        answers: list[Answer] = []
        lost: dict[str, ItemError] = {}
        for ref in self._ready(min(until_s - time.monotonic(), _PATIENCE_S)):
            if ref in self._starting:
                self._meet(ref)
                continue
            worker, chunk = self._calls.pop(ref)
            try:
                answers.append(Answer(worker, chunk, ray.get(ref)))
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
        """Let idle workers close; keep their actors for another run, if any; kill all others."""
        busy = {worker for worker, _ in self._calls.values()}
        idle = [worker for worker in self._actors if worker not in busy]
        if idle:
            closing = {self._actors[worker].close.remote(): worker for worker in idle}
            closed, _ = ray.wait([*closing], num_returns=len(closing), timeout=_CLOSE_S)
            if self._spare is not None:
                self._spare += [self._actors.pop(closing[ref]) for ref in closed if _is_well(ref)]
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
            if not self._actors and self._head.is_there():
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
            if actor not in self._used:
                list_worker(self._log_folder, started.to_dict())
            self._num_failed_starts = 0
            self._has_started = True
            return
        ray.kill(actor)
        self._start_error = f"{started.type}: {started.message}\n{started.traceback}".rstrip()
        logger.warning("a worker could not be made: %s", self._start_error)
        self._num_failed_starts += 1
        # A constructor that raises in the first worker raises in all; in a replacement it may have
        # met what its predecessor left (GPU memory not yet released).
        if started.type != LOST and not self._has_started and actor not in self._used:
            self._num_failed_starts = self._max_failed_starts


def _is_well(closed: ray.ObjectRef[Any]) -> bool:
    """Return whether an actor has closed its worker, and not died of it."""
    try:
        ray.get(closed)
    except RayError:
        return False
    return True


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
