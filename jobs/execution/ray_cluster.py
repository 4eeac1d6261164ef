"""Joining a Ray cluster, or starting a private one on this machine, and what it offers."""

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
    """The cluster cannot be reached, or does not have what a worker asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Which Ray cluster to use, and how our code gets to its nodes."""

    address: str | None = None
    """``"auto"``, ``"host:port"``, or None for a private cluster on this machine."""
    log_to_driver: bool = False
    """Copy what workers write to this terminal; it stays in Ray's session folder anyway."""
    wheel: Path | None = None
    """Wheel of encodeonce (``pip wheel --no-deps -w dist .``) for nodes that lack the package.

    Its content is what Ray ships; the dependencies must be on the nodes. Ray would take the wheel
    itself, but then every node installs all dependencies again, torch with CUDA included.
    """


@contextmanager
def connected(cluster: Cluster, num_workers: int, num_cpus: float) -> Iterator[None]:
    """Be connected to Ray inside the block; end only what this call began.

    A process that is connected already (a notebook, a test session) stays so.

    Raises:
        ClusterError: nothing answers at the address, the wheel is none of ours, or it comes too
            late to be shipped.
    """
    if ray.is_initialized():
        if cluster.wheel and not ray.get_runtime_context().runtime_env.get("py_modules"):
            raise ClusterError(
                f"{cluster.wheel} is shipped when the connection is made, but this process is "
                "connected to Ray already: call ray.shutdown() first"
            )
        yield
        return
    # Read by every Ray process this one starts, and by ray.init itself.
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
            # Ray would ask an address where nobody listens for minutes.
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
            "--head`, and see to it that RAY_AUTH_MODE, and with `token` also the token, are "
            "the same on the cluster and here"
        ) from error


@contextmanager
def shipped(wheel: Path | None) -> Iterator[dict[str, Any]]:
    """Give Ray's runtime environment of the job; what it ships is there inside the block."""
    if wheel is None:
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise ClusterError(
                f"{wheel} cannot be read as a wheel ({error}); make it by `pip wheel --no-deps "
                "-w dist .`"
            ) from error
        package = Path(folder) / "encodeonce"
        if not package.is_dir():
            raise ClusterError(f"{wheel} is not encodeonce's wheel: it has no folder encodeonce/")
        yield {"py_modules": [str(package)]}


def worker_env(num_cpus: float, env_vars: Mapping[str, str]) -> dict[str, Any]:
    """Return the runtime environment of a worker with ``num_cpus`` cores.

    The number of threads follows from the worker's cores and not from how many workers there
    are: it may change how floating-point sums are rounded.
    """
    threads = str(max(1, math.floor(num_cpus)))
    return {"env_vars": {**dict.fromkeys(THREAD_VARIABLES, threads), **env_vars}}


def num_gpus_available() -> float:
    """Return how many GPUs the connected cluster declares, in use or not."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources.get("GPU", 0.0)


def require_room(num_cpus: float, num_gpus: float) -> None:
    """Check that some node is large enough for one worker; Ray would wait for one for ever.

    Raises:
        ClusterError: none is; says what the nodes declare.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    declared = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    if not any(cpus >= num_cpus and gpus >= num_gpus for cpus, gpus in declared):
        has = "; ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in declared)
        raise ClusterError(
            f"a worker asks for {num_cpus:g} CPUs and {num_gpus:g} GPUs on one node, but the "
            f"cluster's {len(nodes)} node(s) declare {has}. Ask for less, or start the node "
            "with `ray start --num-cpus ... --num-gpus ...`"
        )
