"""The executor that a run file asks for."""

from collections.abc import Iterator
from contextlib import contextmanager

from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.jobs.execution.executor import Executor
from encodeonce.jobs.execution.local import LocalExecutor
from encodeonce.jobs.execution.work import Limits


@contextmanager
def executor_for(workers: WorkersSpec, ray_address: str | None) -> Iterator[Executor]:
    """Yield the executor; a Ray cluster is joined or started once for all stages of a run."""
    limits = Limits(
        chunk_size=workers.groups_at_once,
        lease_s=workers.lease_s,
        max_attempts=workers.max_attempts,
    )
    if workers.executor == "local":
        yield LocalExecutor(limits=limits)
        return
    # Imported here so that one machine can run without Ray installed.
    from encodeonce.jobs.execution.ray_cluster import Cluster, connected, num_gpus_available
    from encodeonce.jobs.execution.ray_executor import RayExecutor

    cluster = Cluster(address=ray_address, wheel=workers.wheel)
    with connected(cluster, workers.num_workers, workers.cpus_per_worker):
        num_gpus = workers.gpus_per_worker
        if num_gpus is None:
            num_gpus = 1.0 if num_gpus_available() else 0.0
        yield RayExecutor(
            num_workers=workers.num_workers,
            num_cpus=workers.cpus_per_worker,
            num_gpus=num_gpus,
            cluster=cluster,
            limits=limits,
            env_vars=workers.env,
        )
