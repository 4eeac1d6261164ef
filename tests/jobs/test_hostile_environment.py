"""Full disks, folders that cannot be written: one sentence, a status, and nothing is lost."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from encodeonce.cache_store.durable import explain
from encodeonce.cache_store.hdf5 import Hdf5Store
from tests.jobs.scene import QUESTIONS, Scene, environment, make_scene

NUM_CLIPS = 3
NUM_ANSWERS = NUM_CLIPS * len(QUESTIONS)
needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path, num_clips=NUM_CLIPS)


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Make writes beyond a size fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def one_line(text: str) -> str:
    """Return text without the breaks by which it fits the terminal."""
    return " ".join(text.split())


def fill_up_after(num_puts: int, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Let the store take so many media; return a list that grows with every one offered."""
    put, offered = Hdf5Store.put, list[None]()

    def limited(store: Hdf5Store, entries: Any) -> None:
        offered.append(None)
        if len(offered) > num_puts:
            full = OSError(errno.ENOSPC, "No space left on device")
            raise explain(full, "writing", store.folder.root)
        put(store, entries)

    monkeypatch.setattr(Hdf5Store, "put", limited)
    return offered


def test_precompute_stops_at_the_first_media_that_a_full_store_refuses(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = fill_up_after(1, monkeypatch)
    done = scene.execute("run")
    assert done.exit_code == 1
    assert len(offered) == 2
    said = one_line(done.stderr)
    assert f"{scene.folder}/cache/features: No space left on device" in said
    assert "encodeonce store gc" in said
    assert f"at least 1 of {NUM_CLIPS} media are kept" in said
    monkeypatch.undo()
    again = scene.execute("run")
    assert again.exit_code == 0, again.stderr
    assert "hit rate 33 %, 8 units encoded" in again.stdout


def test_evaluation_stops_too_and_its_answers_are_kept(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = {"path": str(scene.folder / "cache"), "on_miss": "encode"}
    blocks_of_one_clip = {"max_new_tokens": 4, "max_batch": len(QUESTIONS)}
    offered = fill_up_after(1, monkeypatch)
    done = scene.execute("eval", cache=cache, generation=blocks_of_one_clip)
    assert done.exit_code == 1
    assert len(offered) == 2
    assert f"2 of {NUM_ANSWERS} answers are kept" in one_line(done.stderr)
    assert len(scene.lines("records")) == 2
    monkeypatch.undo()
    again = scene.execute("eval", cache=cache, generation=blocks_of_one_clip)
    assert again.exit_code == 0
    assert len(scene.lines("records")) == NUM_ANSWERS


def test_an_output_that_is_a_file_is_said_before_any_work(scene: Scene) -> None:
    """The case ``output-oserror``."""
    scene.output.write_text("1\n")
    for output in (scene.output, scene.output / "below", scene.folder / ("x" * 300)):
        done = scene.execute("run", output=str(output))
        assert done.exit_code == 1
        assert not isinstance(done.exception, OSError)
        said = one_line(done.stderr)
        assert f"output:{output}cannotbewritten:" in said.replace(" ", "")
        assert "hoose another folder (`--output FOLDER`, or `output` in the run file)" in said
    assert scene.output.read_text() == "1\n"
    assert not scene.stored_keys()


def test_a_full_output_folder_keeps_the_answers_before_it_was_full(scene: Scene) -> None:
    assert scene.execute("run").exit_code == 0
    size = (scene.output / "records.jsonl").stat().st_size
    output = scene.folder / "full"
    with files_of_at_most(size - 100):
        done = scene.execute("eval", output=str(output))
    assert done.exit_code == 1
    said = one_line(done.stderr)
    assert f"output: {output}/records.jsonl cannot be written: File too large" in said
    assert "free space there, and repeat the command" in said
    assert f"{NUM_ANSWERS - 1} of {NUM_ANSWERS} answers are kept" in said
    assert len(scene.lines_of(output, "records")) == NUM_ANSWERS - 1
    again = scene.execute("eval", output=str(output))
    assert again.exit_code == 0, again.stderr
    assert f"{NUM_ANSWERS} of {NUM_ANSWERS} answered, 1 of them asked now" in again.stdout


def test_a_report_that_cannot_be_written_is_printed_and_the_earlier_one_stays(
    scene: Scene,
) -> None:
    assert scene.execute("run").exit_code == 0
    earlier = (scene.output / "report.html").read_bytes()
    with files_of_at_most((scene.output / "records.jsonl").stat().st_size + 100):
        done = scene.execute("eval")
    assert done.exit_code == 1
    assert "accuracy" in done.stdout
    said = one_line(done.stderr)
    assert "the report is not written: " in said
    assert "report.json cannot be written: File too large" in said
    assert said.endswith(f"type: encodeonce report {scene.output}")
    assert (scene.output / "report.html").read_bytes() == earlier
    assert not list(scene.output.glob("*.tmp"))


@needs_dev_full
@pytest.mark.parametrize("arguments", [["report", "out"], ["--help"], ["schema"]])
def test_a_full_stdout_is_said(scene: Scene, arguments: list[str]) -> None:
    if arguments[0] == "report":
        assert scene.execute("run").exit_code == 0
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "encodeonce.jobs.cli.main", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=scene.folder,
            check=False,
        )
    assert done.returncode == 1
    where = "; the report is in out/report.md" if arguments[0] == "report" else ""
    assert one_line(done.stderr) == (
        f"encodeonce: stdout cannot be written: No space left on device{where}"
    )


def test_a_finished_run_says_that_nothing_was_left_and_when_it_was_answered(scene: Scene) -> None:
    first = scene.execute("run", check_uncached=1)
    assert first.exit_code == 0, first.stderr
    assert "nothing was left" not in first.stdout
    page = (scene.output / "report.html").stat().st_mtime_ns
    at = min(line["finished_at"] for line in scene.lines("records"))[:16].replace("T", " ")
    again = scene.execute("run", check_uncached=1)
    assert again.exit_code == 0
    done = f"nothing was left to do: {NUM_ANSWERS} of {NUM_ANSWERS} answers are there, given"
    assert done in again.stdout and at in again.stdout
    assert "12 units encoded" not in again.stdout
    assert "accuracy" in again.stdout
    assert (scene.output / "report.html").stat().st_mtime_ns > page
    alone = scene.execute("precompute")
    assert f"the features of {NUM_CLIPS} of {NUM_CLIPS} media are in the store" in alone.stdout
    assert "12 units encoded" in scene_report(scene)


def scene_report(scene: Scene) -> str:
    """Return what ``report`` prints, which tells the run's history."""
    done = subprocess.run(
        [sys.executable, "-m", "encodeonce.jobs.cli.app", "report", str(scene.output)],
        capture_output=True,
        text=True,
        env={**environment(), "NO_COLOR": "1"},
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(os.name != "posix", reason="closes file descriptors")
@needs_dev_full
@pytest.mark.parametrize("where", ["2>/dev/full", ">&- 2>&-"])
def test_a_run_needs_neither_a_log_nor_a_terminal(scene: Scene, where: str) -> None:
    command = f'exec "$@" {where}'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *scene.command("run")],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(scene.lines("records")) == NUM_ANSWERS
    assert (scene.output / "report.html").exists()
