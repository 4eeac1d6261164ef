"""The executor that a run file asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.jobs.execution.display import Display
from encodeonce.jobs.execution.executor import Executor
from encodeonce.jobs.execution.local import LocalExecutor
from encodeonce.jobs.execution.work import Limits


def uses_ray(workers: WorkersSpec, ray_address: str | None = None) -> bool:
    """Return whether the workers are Ray's.

    Raises:
        ValueError: Ray is asked for, and not installed.
    """
    if workers.executor == "local":
        return False
    if find_spec("ray") is not None:
        return True
    if workers.executor == "ray" or ray_address:
        raise ValueError(
            "workers.executor: Ray is not installed. Type: pip install 'encodeonce[ray]', or write "
            "executor: local for one worker in this process"
        )
    return False


@contextmanager
def executor_for(
    workers: WorkersSpec,
    ray_address: str | None,
    display: Display | None = None,
    log_folder: Path | None = None,
) -> Iterator[Executor]:
    """Yield the executor; a Ray cluster is joined or started once for all stages of a run.

    Args:
        workers: the run file's section.
        ray_address: the cluster to join; None for one on this machine.
        display: shown what is waited for.
        log_folder: where workers' logs go; None for none.

    Raises:
        ClusterError: no cluster answers, or no node can hold a worker.
        ValueError: Ray is asked for, and not installed.
    """
    limits = Limits(
        chunk_size=workers.groups_at_once,
        lease_s=workers.lease_s,
        max_attempts=workers.max_attempts,
        retry_after_s=workers.retry_after_s,
    )
    if not uses_ray(workers, ray_address):
        yield LocalExecutor(limits=limits, log_folder=log_folder)
        return
    # Imported here so that one machine can run without Ray installed.
    from encodeonce.jobs.execution.ray_cluster import Cluster, connected, gpus_of_a_worker
    from encodeonce.jobs.execution.ray_executor import RayExecutor

    if display is not None:
        display.phase(f"joining Ray at {ray_address}" if ray_address else "starting Ray")
    cluster = Cluster(address=ray_address, wheel=workers.wheel)
    with connected(cluster, workers.num_workers, workers.cpus_per_worker):
        executor = RayExecutor(
            num_workers=workers.num_workers,
            num_cpus=workers.cpus_per_worker,
            num_gpus=gpus_of_a_worker(workers.gpus_per_worker),
            memory_bytes=workers.memory_bytes,
            cluster=cluster,
            limits=limits,
            env_vars=workers.env,
            log_folder=log_folder,
            spare=[],  # one set of processes for all stages
        )
        executor.require_room()  # before a stage says that it has begun
        try:
            yield executor
        finally:
            executor.dismiss()


def check_ray_serve() -> None:
    """Refuse to serve by replicas without Ray Serve.

    Raises:
        ValueError: it is not installed.
    """
    if find_spec("ray") is None or find_spec("starlette") is None:
        raise ValueError(
            "engine: kind ray needs Ray Serve, which is not installed; type: pip install "
            '"encodeonce[serve]"'
        )
