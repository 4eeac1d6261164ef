"""The executor that a run file asks for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.jobs.execution.executor import Executor
from encodeonce.jobs.execution.local import LocalExecutor
from encodeonce.jobs.execution.work import Limits


@contextmanager
def executor_for(
    workers: WorkersSpec, ray_address: str | None, log_folder: Path | None = None
) -> Iterator[Executor]:
    """Yield the executor; a Ray cluster is joined or started once for all stages of a run.

    Args:
        workers: the run file's section.
        ray_address: the cluster to join; None for one on this machine.
        log_folder: where workers' logs go; None for none.

    Raises:
        ClusterError: no cluster answers, or no node can hold a worker.
    """
    limits = Limits(
        chunk_size=workers.groups_at_once,
        lease_s=workers.lease_s,
        max_attempts=workers.max_attempts,
        retry_after_s=workers.retry_after_s,
    )
    if workers.executor == "local":
        yield LocalExecutor(limits=limits, log_folder=log_folder)
        return
    # Imported here so that one machine can run without Ray installed.
    from encodeonce.jobs.execution.ray_cluster import Cluster, connected, gpus_of_a_worker
    from encodeonce.jobs.execution.ray_executor import RayExecutor

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
        )
        executor.require_room()  # before a stage says that it has begun
        yield executor
