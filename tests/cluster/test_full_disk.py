"""A file system fills up during a run: it stops at the first refusal, and nothing is lost."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Answers
from tests.cluster.scene import NUM_ANSWERS, DemoRun, command, environment

pytestmark = pytest.mark.timeout(900)

SMALL_KIB, LARGE_KIB = 1000, 200_000
"""Features take 3.4 MiB, answers 1.7 MiB."""


def mount(folder: Path, kib: int, *options: str) -> None:
    what = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={kib}k"]), "tmpfs"]
    subprocess.run([*what, str(folder)], check=True)


@pytest.fixture(params=["cache", "out"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system for the store, or for the answers."""
    folder = tmp_path / "run" / str(request.param)
    folder.mkdir(parents=True)
    mount(folder, SMALL_KIB)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def execute(run: DemoRun) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command("run", str(run.file), "--progress", "none"),
        env=environment(),
        capture_output=True,
        text=True,
    )


def test_a_full_disk_ends_the_run_and_with_more_room_it_goes_on(
    disk: Path, tmp_path: Path, undisturbed: Answers
) -> None:
    run = DemoRun(folder=tmp_path / "run")
    run.write(workers={"executor": "local"})
    ended = execute(run)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "full" in ended.stderr
    kept = re.search(r"(\d+) of (\d+) (answers|media)", ended.stderr)
    assert kept is not None, ended.stderr
    assert 0 < int(kept[1]) < int(kept[2])
    if kept[3] == "answers":
        assert int(kept[1]) == run.num_lines("records")
        assert int(kept[2]) == NUM_ANSWERS
    mount(disk, LARGE_KIB, "remount")
    assert execute(run).returncode == 0
    assert run.answers() == undisturbed
    done = run.report()["precompute"]
    assert done["num_encoded"] == done["num_units"]
