"""Checks of a cluster before anything is sent to it."""

import socket
import zipfile
from pathlib import Path

import pytest

from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.jobs.execution.ray_cluster import (
    Cluster,
    ClusterError,
    connected,
    num_fitting,
    num_gpus_available,
    require_room,
    shipped,
    worker_env,
)
from encodeonce.jobs.execution.select import executor_for


def test_an_address_where_nobody_listens_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As in a process that has no connection yet: the tests' own is left alone.
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    refused = pytest.raises(ClusterError, match=f"127.0.0.1:{port}.*RAY_AUTH_MODE")
    with refused, connected(Cluster(address=f"127.0.0.1:{port}"), num_workers=1, num_cpus=1):
        pass


def test_a_worker_must_fit_on_one_node(ray_cluster: None) -> None:
    require_room(num_cpus=2, num_gpus=0)
    with pytest.raises(ClusterError, match=r"asks for 3 CPUs .* declare 2 CPUs and 0 GPUs"):
        require_room(num_cpus=3, num_gpus=0)
    assert num_gpus_available() == 0


@pytest.mark.parametrize(("num_cpus", "threads"), [(0.5, "1"), (2.9, "2")])
def test_the_threads_of_a_worker_follow_from_its_cores(num_cpus: float, threads: str) -> None:
    assert worker_env(num_cpus, {})["env_vars"]["OMP_NUM_THREADS"] == threads
    own = worker_env(num_cpus, {"OMP_NUM_THREADS": "7"})
    assert own["env_vars"]["OMP_NUM_THREADS"] == "7"


def test_a_wheel_is_shipped_as_the_folder_in_it(tmp_path: Path) -> None:
    wheel = tmp_path / "ours.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("encodeonce/jobs/queue.py", "x = 1\n")
    with shipped(wheel) as job_env:
        (package,) = job_env["py_modules"]
        assert (Path(package) / "jobs" / "queue.py").read_text() == "x = 1\n"
    assert not Path(package).exists()


def test_without_a_wheel_nothing_is_shipped() -> None:
    with shipped(None) as job_env:
        assert job_env == {}


def test_what_is_not_our_wheel_is_refused(tmp_path: Path) -> None:
    other, text = tmp_path / "other.whl", tmp_path / "text.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("numpy/version.py", "")
    text.write_text("not a zip")
    for path, reason in ((other, "no folder"), (text, "not a zip"), (tmp_path / "none", "No such")):
        with pytest.raises(ClusterError, match=reason), shipped(path):
            pass


def nodes(monkeypatch: pytest.MonkeyPatch, *declared: dict[str, float]) -> None:
    """Let the cluster have these nodes."""
    found = [{"Alive": True, "Resources": resources} for resources in declared]
    monkeypatch.setattr("ray.nodes", lambda: found)


def test_a_gpu_that_no_node_has_is_refused_before_a_stage_begins(ray_cluster: None) -> None:
    asked = WorkersSpec(num_workers=1, gpus_per_worker=1)
    with (
        pytest.raises(ClusterError, match=r"asks for 1 CPUs and 1 GPUs on one node.*0 GPUs"),
        executor_for(asked, None),
    ):
        pytest.fail("the executor was handed out")


@pytest.mark.parametrize(
    ("num_cpus", "num_gpus", "memory_gib", "room"),
    [(1, 0, 0, 12), (1, 1, 0, 2), (2, 0.5, 0, 2), (1, 0.25, 0, 4), (1, 0, 3, 5), (1, 2, 0, 1)],
)
def test_nodes_of_different_kinds_hold_what_fits_on_each(
    num_cpus: float,
    num_gpus: float,
    memory_gib: float,
    room: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = {"CPU": 8.0, "memory": 10.0 * 2**30}
    nodes(monkeypatch, {"CPU": 4.0, "GPU": 2.0, "memory": 8.0 * 2**30}, small)
    assert num_fitting(num_cpus, num_gpus, int(memory_gib * 2**30)) == room
    require_room(num_cpus, num_gpus, int(memory_gib * 2**30))


def test_memory_that_no_node_has_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, {"CPU": 4.0, "memory": 8.0 * 2**30})
    with pytest.raises(ClusterError, match=r"16\.0 GiB of memory on one node.*8\.0 GiB of memory"):
        require_room(1, 0, 16 * 2**30)
