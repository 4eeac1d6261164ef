"""Checks of a cluster before anything is sent to it."""

import socket
import zipfile
from pathlib import Path

import pytest

from encodeonce.jobs.execution.ray_cluster import (
    Cluster,
    ClusterError,
    connected,
    num_gpus_available,
    require_room,
    shipped,
    worker_env,
)


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
