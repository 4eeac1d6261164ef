"""Ray and decord are extras: without them one worker in this process does the work, with PyAV."""

import subprocess
import sys
from pathlib import Path

import pytest

from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.jobs.execution import select
from encodeonce.jobs.execution.local import LocalExecutor
from encodeonce.jobs.execution.select import executor_for, uses_ray
from tests.jobs.scene import Scene, environment, make_scene

WITHOUT = """\
import sys
sys.modules.update({"ray": None, "decord": None})  # as if they were not installed
from encodeonce.jobs.cli.main import main
main()
"""


def execute(scene: Scene, **workers: object) -> "subprocess.CompletedProcess[str]":
    run_file = scene.run_file(workers=workers)
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, "run", str(run_file)],
        env=environment(),
        capture_output=True,
        text=True,
    )


def test_a_run_needs_neither(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=1)
    done = execute(scene)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 answered" in done.stdout
    (outcome,) = scene.lines("precompute")
    assert outcome["status"] == "ok"
    (row,) = [row for row in scene.report()["run"]["identity"].items() if row[0] == "decoder"]
    assert row[1] == "pyav"


def test_ray_that_is_asked_for_is_missed(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=1)
    done = execute(scene, executor="ray")
    assert done.returncode == 1
    assert "Ray is not installed. Type: pip install 'encodeonce[ray]'" in done.stderr
    assert not scene.output.exists()


def test_who_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    auto, local, ray = (WorkersSpec(executor=name) for name in ("auto", "local", "ray"))
    assert WorkersSpec() == auto
    assert [uses_ray(spec) for spec in (auto, local, ray)] == [True, False, True]
    monkeypatch.setattr(select, "find_spec", lambda name: None)
    assert [uses_ray(spec) for spec in (auto, local)] == [False, False]
    with executor_for(auto, None) as executor:
        assert isinstance(executor, LocalExecutor)
    for spec, address in ((ray, None), (auto, "auto")):
        with pytest.raises(ValueError, match="Ray is not installed"):
            uses_ray(spec, address)
