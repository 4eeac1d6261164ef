"""What runs in a Ray worker's process: the actor that makes one worker and passes it its work."""

import gc
import logging
import os
import pickle
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray

from encodeonce.harness.report.visible import log_visibly
from encodeonce.jobs.execution.executor import Worker, attempt_all, close_quietly, describe
from encodeonce.jobs.execution.work import Attempt, ItemError, WorkItem
from encodeonce.jobs.execution.worker_log import WorkerLog

logger = logging.getLogger(__name__)


class Started(NamedTuple):
    """A worker that is ready."""

    node: str
    """Ray's id of its node."""
    actor: str
    """Ray's id of the actor."""
    name: str
    """``host:pid``."""
    log: str
    """Name of its log in the run's folder; empty if there is none."""
    gpus: tuple[str, ...]

    @property
    def id(self) -> str:
        """What tells it from all others."""
        return f"{self.node}/{self.actor}"

    def to_dict(self) -> dict[str, Any]:
        """Return what the run's list of workers says."""
        about = {"worker": self.name, "node": self.node, "actor": self.actor}
        return {**about, "gpus": self.gpus, "log": self.log}


class WorkerHost:
    """The actor: a process that makes one worker at a time and passes it what the driver sends."""

    def __init__(self) -> None:
        log_visibly()  # Ray shows the driver's user what workers write to stderr
        self._worker: Worker | None = None
        self._log: WorkerLog | None = None

    def start(self, factory: bytes, log_folder: Path | None = None) -> Started | ItemError:
        """Make the worker; return who this is, or why it could not be made.

        Args:
            factory: makes the worker, pickled.
            log_folder: where its log goes.
        """
        context = ray.get_runtime_context()
        actor = str(context.get_actor_id())
        # Containers of one hostname have process ids of their own.
        self._log = self._log or WorkerLog(log_folder, f"{process_name()}-{actor[:8]}")
        try:
            self._worker = pickle.loads(factory)()
        except Exception as error:
            logger.exception("the worker could not be made")
            return describe(error)
        return Started(
            node=str(context.get_node_id()),
            actor=actor,
            name=process_name(),
            log=self._log.name,
            gpus=tuple(map(str, ray.get_gpu_ids())),
        )

    def do(self, items: Sequence[WorkItem]) -> list[Attempt]:
        """Attempt each item in turn."""
        assert self._worker is not None, "the driver sends items only after the start"
        return attempt_all(self._worker, items)

    def close(self) -> None:
        """Close the worker, and give back what it held: another may be made in its place."""
        if self._worker is None:
            return
        close_quietly(self._worker)
        self._worker = None
        gc.collect()
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def process_name() -> str:
    """Return this process's name for people, ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"
