"""Joins a Ray cluster, or starts a private one on this machine, and checks its resources."""

import logging
import math
import os
import socket
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

logger = logging.getLogger(__name__)

LOCAL_OBJECT_STORE_BYTES = 128 * 2**20
"""Only names and small JSON pass through Ray, so its shared memory can be small."""

_ANSWER_S = 10.0
"""How long a cluster's address may take to accept a connection."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class ClusterError(ValueError):
    """The cluster cannot be reached, or lacks the resources that a worker asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The Ray cluster to use, and how our code reaches its nodes."""

    address: str | None = None
    """``"auto"``, ``"host:port"``, or None for a private cluster on this machine."""
    log_to_driver: bool = False
    """Copy workers' output to this terminal; Ray's session folder keeps it anyway."""
    wheel: Path | None = None
    """Wheel of encodeonce (``pip wheel --no-deps -w dist .``) for nodes that lack the package.

    Ray ships its contents; the dependencies must be on the nodes. Ray would also accept the wheel
    itself, but then every node would install all dependencies again, torch with CUDA included.
    """


@contextmanager
def connected(cluster: Cluster, num_workers: int, num_cpus: float) -> Iterator[None]:
    """Connect to Ray for the block; disconnect afterwards only if this call connected.

    A process that is connected already (a notebook, a test session) stays so.

    Raises:
        ClusterError: nothing answers at the address, the wheel is not encodeonce's, or it is too
            late to ship it.
    """
    if ray.is_initialized():
        if cluster.wheel and not ray.get_runtime_context().runtime_env.get("py_modules"):
            raise ClusterError(
                f"{cluster.wheel} is shipped when the connection is made, but this process is "
                "already connected to Ray: call ray.shutdown() first"
            )
        yield
        return
    # Read by ray.init itself, and by every Ray process that this one starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with shipped(cluster.wheel) as job_env:
        if cluster.address is None:
            _start_private(cluster, math.ceil(num_workers * num_cpus), job_env)
        else:
            _join(cluster, cluster.address, job_env)
    try:
        yield
    finally:
        ray.shutdown()


def _start_private(cluster: Cluster, num_cpus: int, job_env: dict[str, Any]) -> None:
    ray.init(
        address="local",
        # CPUs are a promise to Ray's scheduler: more workers than cores are slow, not stuck.
        num_cpus=max(num_cpus, os.cpu_count() or 1),
        object_store_memory=LOCAL_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=cluster.log_to_driver,
        logging_level=logging.ERROR,
        runtime_env=job_env,
    )


def _join(cluster: Cluster, address: str, job_env: dict[str, Any]) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdecimal():
            # Ray itself would try an address where nothing listens for minutes.
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
        ray.init(
            address=address,
            log_to_driver=cluster.log_to_driver,
            logging_level=logging.WARNING,
            runtime_env=job_env,
        )
    except (OSError, RuntimeError) as error:
        raise ClusterError(
            f"no Ray cluster could be joined at {address!r}: {error}. Start one with `ray start "
            "--head`, and make sure that RAY_AUTH_MODE, and with `token` also the token, are "
            "the same on the cluster and here"
        ) from error


@contextmanager
def shipped(wheel: Path | None) -> Iterator[dict[str, Any]]:
    """Yield the job's Ray runtime environment; the files it ships exist for the block."""
    if wheel is None:
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise ClusterError(
                f"{wheel} cannot be read as a wheel ({error}); make it with `pip wheel --no-deps "
                "-w dist .`"
            ) from error
        package = Path(folder) / "encodeonce"
        if not package.is_dir():
            raise ClusterError(f"{wheel} is not encodeonce's wheel: it has no folder encodeonce/")
        yield {"py_modules": [str(package)]}


def worker_env(num_cpus: float, env_vars: Mapping[str, str]) -> dict[str, Any]:
    """Return the runtime environment of a worker with ``num_cpus`` cores.

    The number of threads depends on the worker's cores, not on the number of workers, because it
    may change how floating-point sums are rounded.
    """
    threads = str(max(1, math.floor(num_cpus)))
    return {"env_vars": {**dict.fromkeys(THREAD_VARIABLES, threads), **env_vars}}


def num_gpus_available() -> float:
    """Return how many GPUs the connected cluster declares, in use or not."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources.get("GPU", 0.0)


def gpus_of_a_worker(asked: float | None) -> float:
    """Return the GPUs of one worker: what is asked for, or one where the cluster has any."""
    if asked is not None:
        return asked
    return 1.0 if num_gpus_available() else 0.0


def require_room(num_cpus: float, num_gpus: float, memory_bytes: int = 0) -> None:
    """Check that some node is large enough for one worker; Ray would wait for one forever.

    Raises:
        ClusterError: none is; the message says what the nodes declare.
    """
    asked = {"CPU": num_cpus, "GPU": num_gpus, "memory": float(memory_bytes)}
    nodes = _declared()
    if not any(_num_fitting(node, asked) for node in nodes):
        has = "; ".join(_in_words(node) for node in nodes)
        raise ClusterError(
            f"a worker asks for {_in_words(asked)} on one node, but the "
            f"cluster's {len(nodes)} node(s) declare {has}. Ask for less, or start the node "
            "with `ray start --num-cpus ... --num-gpus ... --memory ...`"
        )


def num_fitting(num_cpus: float, num_gpus: float, memory_bytes: int = 0) -> int:
    """Return how many workers the nodes hold together, if nobody else uses them."""
    asked = {"CPU": num_cpus, "GPU": num_gpus, "memory": float(memory_bytes)}
    return sum(_num_fitting(node, asked) for node in _declared())


def _declared() -> list[dict[str, float]]:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [{name: node.get(name, 0.0) for name in ("CPU", "GPU", "memory")} for node in nodes]


def _num_fitting(node: Mapping[str, float], asked: Mapping[str, float]) -> int:
    """Return how many workers a node holds; workers that share a GPU share a whole one."""
    found = []
    for name, amount in asked.items():
        if 0 < amount < 1:
            found.append(math.floor(node[name]) * math.floor(1 / amount + 1e-9))
        elif amount:
            found.append(math.floor(node[name] / amount))
    return min(found, default=1)


def _in_words(resources: Mapping[str, float]) -> str:
    memory = resources["memory"]
    told = f"{resources['CPU']:g} CPUs and {resources['GPU']:g} GPUs"
    return f"{told} and {memory / 2**30:.1f} GiB of memory" if memory else told
