"""A Ray cluster that is lost: said in our words before Ray's library ends the process."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray

from encodeonce.jobs.execution import ray_head
from encodeonce.jobs.execution.executor import ClusterLost
from encodeonce.jobs.execution.ray_head import Head, require_a_node

ROOT = Path(__file__).parents[3]


class Listener:
    """A port that answers while it is open."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    opened = Listener()
    context = SimpleNamespace(gcs_address=opened.address)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray_head, "ASK_EVERY_S", 0.0)
    yield opened
    opened.close()


def test_a_private_clusters_head_is_not_waited_for(listener: Listener) -> None:
    head = Head(may_return=False)
    head.require()
    assert head.is_there()
    listener.close()
    assert not head.is_there()
    with pytest.raises(ClusterLost, match=rf"{listener.address}.*Repeat the command to go on"):
        head.require()


def test_a_joined_clusters_head_may_return_for_a_while(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "4")
    head = Head(may_return=True)
    listener.close()
    start_s = time.monotonic()
    with pytest.raises(ClusterLost):
        while True:
            head.require()
            time.sleep(0.05)
    assert 2.8 <= time.monotonic() - start_s < 4.0, "before Ray's own patience ends"
    (said,) = (record.getMessage() for record in caplog.records)
    assert f"{listener.address} does not answer; it is waited for until" in said


def test_a_head_that_returns_is_welcome(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    head = Head(may_return=True)
    answers = iter([False, False, True, True])
    monkeypatch.setattr(head, "_answers", lambda: next(answers))
    for _ in range(4):
        head.require()
    assert [record.getMessage()[-13:] for record in caplog.records][1:] == ["answers again"]


def test_a_cluster_without_nodes_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": False}, {"Alive": True}])
    require_a_node()
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": False}])
    with pytest.raises(ClusterLost, match="none of its nodes is alive.*Repeat the command"):
        require_a_node()


@pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")
@pytest.mark.parametrize("victim", [pytest.param("gcs_server", marks=pytest.mark.long), "raylet"])
def test_a_driver_whose_cluster_is_killed_says_so_in_time(tmp_path: Path, victim: str) -> None:
    arguments = [str(tmp_path), "1", "100000"]
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.jobs.slow_run", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    ended = tmp_path / "ended.jsonl"
    deadline_s = time.monotonic() + 120
    while not ended.exists() or not ended.stat().st_size:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    (killed,) = (p for p in psutil.Process(driver.pid).children() if victim in p.name())
    killed.kill()
    _, err = driver.communicate(timeout=100)
    assert driver.returncode == 1
    assert "ClusterLost: the Ray cluster was lost" in err
    assert "Failed to connect to GCS" not in err
