"""Logs of workers in the run's folder."""

import json
import logging
import socket
from functools import partial
from pathlib import Path

import pytest

from encodeonce.jobs.execution.local import LocalExecutor
from encodeonce.jobs.execution.ray_executor import RayExecutor
from encodeonce.jobs.execution.worker_log import WorkerLog
from tests.contracts.executor import ScriptedWorker, item, run


def listed(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "workers.jsonl").read_text().splitlines()]


def test_a_worker_of_ray_has_a_log_and_is_listed(ray_cluster: None, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    executor = RayExecutor(num_workers=1, log_folder=logs)
    outcomes = run(executor, tmp_path, [item("good"), item("bad", act="fail")])
    (worker,) = listed(logs)
    assert worker["worker"] == outcomes["good"].worker
    assert len(str(worker["node"])) == len(str(worker["actor"])) + 24 == 56
    assert worker["gpus"] == []
    text = (logs / str(worker["log"])).read_text()
    assert "good: ok after" in text
    assert "bad: failed after" in text


def test_the_only_worker_of_this_process_has_a_log_too(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    level = logging.getLogger("encodeonce").level
    handlers = list(logging.getLogger().handlers)
    run(LocalExecutor(log_folder=logs), tmp_path, [item("good")])
    (worker,) = listed(logs)
    assert "good: ok after" in (logs / str(worker["log"])).read_text()
    assert logging.getLogger("encodeonce").level == level
    assert logging.getLogger().handlers == handlers


def test_a_folder_that_cannot_be_written_costs_the_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").write_text("in the way")
    executor = LocalExecutor(log_folder=tmp_path / "logs")
    found = list(executor.run([item("a")], partial(ScriptedWorker, tmp_path)))
    assert [one.status for one in found] == ["ok"]
    assert "no log of this worker" in caplog.text


def test_control_characters_in_messages_are_shown_as_escapes(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path, f"{socket.gethostname()}:1/../x")
    logging.getLogger("encodeonce.test").info("clip \x1b[31m.mp4")
    log.close()
    (file,) = tmp_path.iterdir()
    assert file.name == f"{socket.gethostname()}-1-..-x.log"
    assert r"clip \x1b[31m.mp4" in file.read_text()
