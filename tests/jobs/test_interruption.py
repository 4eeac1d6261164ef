"""kill -9 of workers and of the driver: everything is done in the end, and nothing twice."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.jobs.scene import Scene, environment, make_scene

RAY = {"executor": "ray", "num_workers": 2}
RAY_AGAIN = {"executor": "ray", "num_workers": 1}
NUM_CLIPS = 12
SLOW = {"policy": "uniform_inclusive", "num_frames": 24}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path, num_clips=NUM_CLIPS, num_frames=24)


def start(scene: Scene, verb: str, **changes: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        scene.command(verb, **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until the condition holds while the process still runs."""
    deadline_s = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, f"ended too soon: {process.communicate()}"
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def workers_of(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the driver's Ray worker processes; other runs on the machine have their own."""
    found = psutil.Process(driver.pid).children(recursive=True)
    workers = [process for process in found if process.name().startswith("ray::WorkerHost")]
    assert workers, "no Ray worker found"
    return workers


def kill_a_worker(driver: subprocess.Popen[str]) -> None:
    """SIGKILL one of the driver's Ray worker processes."""
    workers_of(driver)[0].send_signal(signal.SIGKILL)


def assert_each_is_answered_once(scene: Scene) -> None:
    counts = Counter(line["sample"] for line in scene.lines("records"))
    assert len(counts) == 2 * NUM_CLIPS
    assert set(counts.values()) == {1}


def encoded(scene: Scene) -> int:
    return sum(
        line["value"]["cache"]["num_encoded"]
        for line in scene.lines("precompute")
        if line["status"] == "ok"
    )


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A run of two workers, one of which was killed while encoding and one while answering."""
    scene = make_scene(tmp_path_factory.mktemp("survivor"), num_clips=NUM_CLIPS, num_frames=24)
    driver = start(scene, "run", workers=RAY, frames=SLOW)
    for journal in ("precompute.jsonl", "records.jsonl"):
        wait_for(lambda path=scene.output / journal: lines_in(path) >= 2, driver)
        kill_a_worker(driver)
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    return scene


def test_a_killed_worker_costs_no_media_and_no_unit_is_encoded_twice(survivor: Scene) -> None:
    assert len(survivor.stored_keys()) == NUM_CLIPS * 24
    # The media in hand when the worker died may have been committed before it could say so.
    assert NUM_CLIPS * 24 - 24 <= encoded(survivor) <= NUM_CLIPS * 24
    assert len(survivor.lines("precompute")) == NUM_CLIPS


def test_a_killed_worker_loses_no_sample_and_none_is_scored_twice(survivor: Scene) -> None:
    assert_each_is_answered_once(survivor)


def test_answers_are_the_same_bits_whoever_worked_and_died(survivor: Scene) -> None:
    def bits(lines: list[dict[str, Any]]) -> dict[str, str]:
        return {line["sample"]: line["logits_sha256"] for line in lines}

    output = survivor.folder / "alone"
    cache = {"path": str(survivor.folder / "its-cache")}
    done = survivor.execute("run", output=str(output), cache=cache, frames=SLOW)
    assert done.exit_code == 0, done.stderr
    found = bits(survivor.lines_of(output, "records"))
    assert found == bits(survivor.lines("records"))
    assert len(found) == 2 * NUM_CLIPS


def test_a_killed_driver_is_resumed_with_other_workers_and_encodes_only_the_rest(
    scene: Scene,
) -> None:
    driver = start(scene, "precompute", workers=RAY)
    journal = scene.output / "precompute.jsonl"
    wait_for(lambda: lines_in(journal) >= 3, driver)
    workers = workers_of(driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    # They may still finish what they had begun.
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, "workers outlived their driver"
    committed = scene.stored_keys()
    before = len(scene.lines("precompute"))
    done = scene.execute("precompute")
    assert done.exit_code == 0, done.stderr
    assert len(scene.stored_keys()) == NUM_CLIPS * 4
    newly = sum(
        line["value"]["cache"]["num_encoded"] for line in scene.lines("precompute")[before:]
    )
    assert newly == NUM_CLIPS * 4 - len(committed)


@pytest.mark.long
def test_a_killed_driver_loses_no_sample_and_none_is_scored_twice(scene: Scene) -> None:
    assert scene.execute("precompute").exit_code == 0
    driver = start(scene, "eval", workers=RAY)
    records = scene.output / "records.jsonl"
    wait_for(lambda: lines_in(records) >= 3, driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    done = scene.execute("eval", workers=RAY_AGAIN)
    assert done.exit_code == 0, done.stderr
    assert_each_is_answered_once(scene)


@pytest.mark.parametrize(
    "workers",
    [{"executor": "local"}, pytest.param(RAY, marks=pytest.mark.long)],
    ids=["local", "ray"],
)
def test_ctrl_c_says_at_once_what_is_kept_and_the_rest_is_done_later(
    scene: Scene, workers: dict[str, Any]
) -> None:
    assert scene.execute("precompute").exit_code == 0
    driver = start(scene, "eval", workers=workers)
    records = scene.output / "records.jsonl"
    wait_for(lambda: lines_in(records) >= 3, driver)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    kept = re.search(r"encodeonce: interrupted; (\d+) of 24 answers are kept; repeat", err)
    assert kept is not None, err
    assert "Traceback" not in err
    # A group's answers that were on their way may have been written after the line was.
    assert 3 <= int(kept[1]) <= lines_in(records) < 24
    done = scene.execute("eval")
    assert done.exit_code == 0, done.stderr
    assert Counter(line["sample"] for line in scene.lines("records")).total() == 24


@pytest.mark.long
def test_a_killed_matrix_is_resumed_with_other_workers_and_ends_complete(tmp_path: Path) -> None:
    scene = Scene(folder=tmp_path)
    matrix = {
        "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
        "benchmarks": [{"name": "demo"}],
        "limit": 12,
        "weights": ["none", "rtn"],
        "kv": ["full", {"method": "snapkv", "keep": [0.5, 0.1]}, {"method": "knorm", "keep": 0.2}],
    }
    num_cells = 2 * 4 * 12
    driver = start(scene, "run", workers=RAY, **matrix)
    records = scene.output / "records.jsonl"
    wait_for(lambda: lines_in(records) >= num_cells // 4, driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    before = lines_in(records)
    assert before < num_cells
    done = scene.execute("run", workers=RAY_AGAIN, **matrix)
    assert done.exit_code == 0, done.stderr
    cells = Counter((line["variant"], line["sample"]) for line in scene.lines("records"))
    assert len(cells) == num_cells
    assert set(cells.values()) == {1}
    report = scene.report()
    assert report["evaluation"]["num_answered"] == num_cells
    assert report["evaluation"]["hit_rate"] == 1.0
    assert report["precompute"]["num_encoded"] == report["precompute"]["num_units"]
    complete = {
        name: one["benchmarks"]["demo"]["num_answered"]
        for name, one in report["variants"]["variants"].items()
    }
    assert complete == dict.fromkeys(complete, 12)
    assert len(complete) == 8
