"""The Ray executor: the contract, and items that kill processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from encodeonce.jobs.execution.executor import WorkerStartError
from encodeonce.jobs.execution.ray_cluster import Cluster, ClusterError
from encodeonce.jobs.execution.ray_executor import RayExecutor
from encodeonce.jobs.execution.work import LOST, OVERDUE, Limits, WorkError
from tests.contracts.executor import (
    MAX_ATTEMPTS,
    ExecutorContract,
    ScriptedWorker,
    calls,
    item,
    run,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def executor(ray_cluster: None) -> RayExecutor:
    return RayExecutor(num_workers=2, limits=Limits(max_attempts=MAX_ATTEMPTS, retry_after_s=0.1))


class TestRayExecutor(ExecutorContract):
    pass


@pytest.mark.parametrize("chunk_size", [1, pytest.param(4, marks=pytest.mark.long)])
def test_what_kills_its_worker_is_quarantined_and_the_rest_ends_well(
    ray_cluster: None, tmp_path: Path, chunk_size: int
) -> None:
    script = [item(f"i{n}") for n in range(12)]
    script[2] = item("killed once", act="die", times=1)
    script[5] = item("poison", act="die")
    executor = RayExecutor(num_workers=2, limits=Limits(chunk_size=chunk_size, max_attempts=2))
    outcomes = run(executor, tmp_path, script)
    poison = outcomes.pop("poison")
    assert (poison.status, poison.attempts) == ("quarantined", 2)
    assert poison.error is not None
    assert poison.error.type == LOST
    assert "worker process has died" in poison.error.message
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}
    assert calls(tmp_path, "killed once") == 2


def test_what_hangs_is_killed_at_the_end_of_its_lease_and_quarantined(
    ray_cluster: None, tmp_path: Path
) -> None:
    script = [item("hangs", act="hang"), *(item(f"i{n}") for n in range(4))]
    executor = RayExecutor(num_workers=2, limits=Limits(lease_s=1.0, max_attempts=2))
    outcomes = run(executor, tmp_path, script)
    hung = outcomes.pop("hangs")
    assert hung.status == "quarantined"
    assert hung.error is not None
    assert hung.error.type == OVERDUE
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}


class DiesWhenMade(ScriptedWorker):
    """Kills its process while the worker is made, ``times`` times in all."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__(folder)
        if self.note("starts") < times:
            self.die()


def test_a_process_that_dies_while_starting_is_replaced(
    executor: RayExecutor, tmp_path: Path
) -> None:
    outcomes = list(executor.run([item("a")], partial(DiesWhenMade, tmp_path, 1)))
    assert [outcome.status for outcome in outcomes] == ["ok"]
    assert calls(tmp_path, "starts") == 2


def test_processes_that_always_die_while_starting_end_the_run(
    ray_cluster: None, tmp_path: Path
) -> None:
    executor = RayExecutor(num_workers=1)
    with pytest.raises(WorkerStartError, match="process has died"):
        list(executor.run([item("a")], partial(DiesWhenMade, tmp_path, 99)))
    assert calls(tmp_path, "starts") == 3


def test_more_gpus_than_any_node_declares_are_refused_at_once(
    ray_cluster: None, tmp_path: Path
) -> None:
    executor = RayExecutor(num_workers=1, num_gpus=1)
    start_s = time.monotonic()
    with pytest.raises(ClusterError, match=r"1 GPUs.*declare 2 CPUs and 0 GPUs"):
        list(executor.run([item("a")], partial(ScriptedWorker, tmp_path)))
    assert time.monotonic() - start_s < 2


def test_a_factory_that_cannot_be_pickled_is_refused(executor: RayExecutor, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file, pytest.raises(WorkError, match="top-level class"):
        list(executor.run([item("a")], partial(ScriptedWorker, file)))  # type: ignore[arg-type]


class Witness(ScriptedWorker):
    """Reports its process's environment."""

    def do(self, payload: dict[str, Any]) -> Any:
        import datasets

        return {
            "datasets": hasattr(datasets, "load_dataset"),
            "root on path": str(ROOT) in sys.path,
            "environment": {name: os.environ.get(name) for name in payload["names"]},
        }


def test_a_worker_started_in_the_repository_sees_hugging_faces_datasets_and_its_threads(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = RayExecutor(num_workers=1, num_cpus=2, env_vars={"HF_HUB_OFFLINE": "1"})
    names = ["OMP_NUM_THREADS", "HF_HUB_OFFLINE"]
    (outcome,) = executor.run([item("a", names=names)], partial(Witness, tmp_path))
    assert outcome.value == {
        "datasets": True,
        "root on path": True,
        "environment": {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"},
    }


def test_a_wheel_for_the_nodes_is_refused_when_it_is_too_late_to_ship_it(
    ray_cluster: None, tmp_path: Path
) -> None:
    executor = RayExecutor(num_workers=1, cluster=Cluster(wheel=Path("dist/x.whl")))
    with pytest.raises(ClusterError, match="already connected to Ray"):
        list(executor.run([item("a")], partial(ScriptedWorker, tmp_path)))


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)


def num_lines(path: Path) -> int:
    """How many lines a file has so far; 0 while there is none."""
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended (a zombie has)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def stop_a_driver_after(num_ended: int, num_items: int, folder: Path, how: signal.Signals) -> None:
    """Start a run with two workers, stop its driver, and check that the workers end with it."""
    arguments = [str(folder), "2", str(num_items)]
    driver = subprocess.Popen([sys.executable, "-m", "tests.jobs.slow_run", *arguments], cwd=ROOT)
    ended, made = folder / "ended.jsonl", folder / "made"
    # The second worker may take seconds longer than the first to start.
    wait_until(lambda: num_lines(ended) > num_ended and num_lines(made) == 2, 60)
    driver.send_signal(how)
    assert driver.wait(30) != 0
    workers = [int(pid) for pid in made.read_text().split()]
    wait_until(lambda: not any(map(is_running, workers)), 20)


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")


@needs_proc
@pytest.mark.parametrize(
    "how",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
        pytest.param(signal.SIGKILL, marks=pytest.mark.long),
    ],
)
def test_a_driver_that_is_stopped_takes_its_workers_along(
    tmp_path: Path, how: signal.Signals
) -> None:
    stop_a_driver_after(5, 1000, tmp_path, how)


def processes(folder: Path, event: str) -> list[str]:
    """Return the ids of the processes in which a worker noted something, in order."""
    return (folder / event).read_text().splitlines()


def test_spare_processes_serve_the_next_run_and_end_when_they_are_dismissed(
    ray_cluster: None, tmp_path: Path
) -> None:
    executor = RayExecutor(num_workers=1, spare=[])
    script = [item(f"i{n}") for n in range(8)]
    run(executor, tmp_path, script)
    (process,) = processes(tmp_path, "made")
    assert processes(tmp_path, "closed") == [process]  # a worker of one run is not the next one's
    assert len(executor.spare or ()) == 1
    assert is_running(int(process))
    run(executor, tmp_path, script)
    assert processes(tmp_path, "made") == processes(tmp_path, "closed") == [process, process]
    executor.dismiss()
    until_s = time.monotonic() + 30
    while is_running(int(process)):
        assert time.monotonic() < until_s, "they still run"
        time.sleep(0.1)


def test_a_spare_process_that_died_or_cannot_start_again_is_replaced(
    ray_cluster: None, tmp_path: Path
) -> None:
    executor = RayExecutor(num_workers=1, spare=[], limits=Limits(max_attempts=2))
    run(executor, tmp_path, [item("a")])
    (first,) = processes(tmp_path, "made")
    os.kill(int(first), signal.SIGKILL)
    run(executor, tmp_path, [item("b")])
    second = processes(tmp_path, "made")[-1]
    assert second != first
    # One run that kills its worker leaves none; the next begins with a new one.
    outcomes = run(executor, tmp_path, [item("poison", act="die")])
    assert outcomes["poison"].status == "quarantined"
    run(executor, tmp_path, [item("c")])
    assert processes(tmp_path, "made")[-1] not in (first, second)
    executor.dismiss()
