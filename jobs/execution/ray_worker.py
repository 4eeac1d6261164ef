"""What runs in a Ray worker's process: the actor that makes one worker and passes it its work."""

import gc
import os
import pickle
import socket
import sys
from collections.abc import Sequence
from typing import NamedTuple

import ray

from encodeonce.harness.report.visible import log_visibly
from encodeonce.jobs.execution.executor import Worker, attempt_all, close_quietly, describe
from encodeonce.jobs.execution.work import Attempt, ItemError, WorkItem


class Started(NamedTuple):
    """A worker that is ready."""

    id: str
    name: str


class WorkerHost:
    """The actor: a process that makes one worker at a time and passes it what the driver sends."""

    def __init__(self) -> None:
        log_visibly()  # Ray shows the driver's user what workers write to stderr
        self._worker: Worker | None = None

    def start(self, factory: bytes) -> Started | ItemError:
        """Make the worker; return who this is, or why it could not be made."""
        try:
            self._worker = pickle.loads(factory)()
        except Exception as error:
            return describe(error)
        context = ray.get_runtime_context()
        return Started(
            id=f"{context.get_node_id()}/{context.get_actor_id()}",
            name=process_name(),
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
