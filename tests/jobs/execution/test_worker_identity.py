"""Workers are told apart by Ray's ids; ``host:pid`` is for people."""

import re
import socket
from functools import partial
from pathlib import Path

from encodeonce.jobs.execution import ray_worker
from encodeonce.jobs.execution.ray_executor import RayExecutor
from encodeonce.jobs.execution.work import Limits
from tests.contracts.executor import ScriptedWorker, calls, item, run


class OneAndTheSame(ScriptedWorker):
    """Says that it is process 7 of a host that others are on too, as in containers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ray_worker.process_name = lambda: "node:7"


def test_two_workers_of_one_host_and_pid_are_two_workers(ray_cluster: None, tmp_path: Path) -> None:
    executor = RayExecutor(num_workers=2, limits=Limits(max_attempts=1))
    items = [item(f"i{n}") for n in range(8)]
    outcomes = list(executor.run(items, partial(OneAndTheSame, tmp_path)))
    assert sorted(outcome.item for outcome in outcomes) == [f"i{n}" for n in range(8)]
    assert {(outcome.status, outcome.worker) for outcome in outcomes} == {("ok", "node:7")}
    assert calls(tmp_path, "made") <= 2, "one took the other's place, which was made anew"


def test_people_are_shown_host_and_pid(ray_cluster: None, tmp_path: Path) -> None:
    outcomes = run(RayExecutor(num_workers=1), tmp_path, [item("a")])
    assert re.fullmatch(rf"{re.escape(socket.gethostname())}:\d+", outcomes["a"].worker)
