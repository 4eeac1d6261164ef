"""Trains on a Ray cluster, by Ray Train: it places the processes, joins them, and restarts them.

What a process does is `harness.training`'s. All of them see the output folder, so a training that
lost a process goes on from its last checkpoint there.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer

from encodeonce.harness.training.config import TrainConfig
from encodeonce.harness.training.ranks import TIMEOUT, Ranks
from encodeonce.harness.training.trainer import OnStep
from encodeonce.jobs.execution.ray_cluster import (
    Cluster,
    connected,
    gpus_of_a_worker,
    require_room,
    worker_env,
)

Config = TypeVar("Config", bound=TrainConfig)
Train = Callable[[Config, Ranks, OnStep], object]
"""Trains to the end as one of the ranks."""
_ASK_EVERY_S = 0.5
_RAYS_FOLDER = ".ray-train"
_LIBRARY_LOGS = ("ray.train", "ray.tune")


class TrainingFailed(ValueError):
    """The processes did not finish; the message is that of the one that failed."""


def train_on_ray(
    train: Train[Config], config: Config, address: str | None, on_step: OnStep
) -> None:
    """Train what a run file describes on a cluster's workers.

    Args:
        train: what each process does: a function that they can import.
        config: the run file; ``workers`` says how many there are, and what each has.
        address: of the cluster; None starts one on this machine.
        on_step: called with what the first process says of its steps.

    Raises:
        ClusterError: the cluster does not answer, or no node is large enough for a worker.
        TrainingFailed: the training cannot begin, or failed more often than it may.
    """
    workers = config.workers
    cluster = Cluster(address=address, wheel=workers.wheel)
    with connected(cluster, workers.num_workers, workers.cpus_per_worker):
        num_gpus = gpus_of_a_worker(workers.gpus_per_worker)
        require_room(workers.cpus_per_worker, num_gpus, workers.memory_bytes)
        board: Any = ray.remote(num_cpus=0)(_Board).remote()
        for name in _LIBRARY_LOGS:
            logging.getLogger(name).setLevel(logging.ERROR)
        trainer = TorchTrainer(
            _train_as_one,
            train_loop_config={
                "train": train,
                "kind": type(config),
                "config": config.model_dump(mode="json"),
                "board": board,
            },
            torch_config=TorchConfig(timeout_s=int(TIMEOUT.total_seconds())),
            scaling_config=ScalingConfig(
                num_workers=workers.num_workers,
                use_gpu=num_gpus > 0,
                resources_per_worker={
                    "CPU": workers.cpus_per_worker,
                    "GPU": num_gpus,
                    "memory": workers.memory_bytes,
                },
            ),
            run_config=RunConfig(  # type: ignore[call-arg]  # checkers see Ray Train's first version
                name=_RAYS_FOLDER,
                storage_path=str(config.output),
                failure_config=FailureConfig(max_failures=workers.max_attempts - 1),
                worker_runtime_env=worker_env(workers.cpus_per_worker, workers.env),
            ),
        )
        with _shown(board, on_step):
            try:
                trainer.fit()
            except Exception as error:
                _, refusal = ray.get(board.read.remote())
                raise TrainingFailed(refusal or _first_cause(error)) from error
            finally:  # nothing in it is needed: checkpoints are ours
                shutil.rmtree(config.output / _RAYS_FOLDER, ignore_errors=True)


def _train_as_one(settings: dict[str, Any]) -> None:
    """Train as one of the processes that Ray Train has joined."""
    config = settings["kind"](**settings["config"])
    board = settings["board"]

    def on_step(done: int, total: int, words: str) -> None:
        board.say.remote(done, total, words)

    assert Ranks().rank == get_context().get_world_rank()
    _, refusal = ray.get(board.read.remote())
    if refusal is not None:
        return  # no restart mends what a process has refused
    try:
        settings["train"](config, Ranks(), on_step)
    except ValueError as error:
        ray.get(board.give_up.remote(str(error)))
        raise  # or the others would wait for this process


class _Board:
    """An actor on which the first process writes how far it is."""

    def __init__(self) -> None:
        self._said: tuple[int, int, str] | None = None
        self._refusal: str | None = None

    def say(self, done: int, total: int, words: str) -> None:
        self._said = done, total, words

    def give_up(self, reason: str) -> None:
        self._refusal = reason

    def read(self) -> tuple[tuple[int, int, str] | None, str | None]:
        return self._said, self._refusal


@contextmanager
def _shown(board: Any, on_step: OnStep) -> Iterator[None]:
    """Tell what stands on the board while the block runs.

    Raises:
        TrainingFailed: a process has refused what was asked for.
    """
    ended = threading.Event()

    def look() -> None:
        last = None
        while not ended.wait(_ASK_EVERY_S):
            said, _ = ray.get(board.read.remote())
            if said is not None and said != last:
                on_step(*said)
                last = said

    thread = threading.Thread(target=look, name="ray-train-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    _, refusal = ray.get(board.read.remote())
    if refusal is not None:
        raise TrainingFailed(refusal)


def _first_cause(error: BaseException) -> str:
    """Return the message of the process that failed, without Ray's traces."""
    failures = getattr(error, "worker_failures", None)
    found: BaseException = next(iter(failures.values())) if failures else error
    while found.__cause__ is not None:
        found = found.__cause__
    lines = str(found).strip().splitlines()
    return lines[-1] if lines else type(found).__name__
