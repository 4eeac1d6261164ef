"""Runs from the command line alone, and files that `init` writes."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.harness.run.read_config import load_config
from encodeonce.jobs.cli.app import app
from encodeonce.jobs.cli.run_options import RunOptions
from tests.jobs.scene import Scene, make_scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path, num_clips=2)


def call(*words: object) -> Result:
    runner = CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "160"})
    return runner.invoke(app, [str(word) for word in words])


def words_for(scene: Scene) -> list[object]:
    """Return what describes the scene's run file on a command line."""
    task = f"{{name: questions, options: {{file: {scene.folder}/questions.jsonl, media_root: "
    return [
        *("--model", scene.folder / "model", "--device", "cpu", "--set", "model.dtype=float32"),
        *("--tasks", f"{task}{scene.media_root}}}}}", "--frames", 4),
        *("--set", "generation={max_new_tokens: 3, max_batch: 4}"),
        *("--set", f"cache.path={scene.folder}/cache", "--set", "workers.executor=local"),
    ]


def test_a_command_line_answers_as_its_run_file_does(scene: Scene) -> None:
    assert scene.execute("run", kv=["full", "snapkv@0.5"], limit=2).exit_code == 0
    expected = {(line["sample"], line["variant"]): line["text"] for line in scene.lines("records")}
    assert len(expected) == 4
    output = scene.folder / "other"
    words = [*words_for(scene), "--kv", "full,snapkv@0.5", "--limit", 2, "-o", output]
    done = call("run", *words)
    assert done.exit_code == 0, done.stderr
    got = scene.lines_of(output, "records")
    assert {(line["sample"], line["variant"]): line["text"] for line in got} == expected
    # Repeated it resumes; with other variants and a higher limit it adds them.
    assert "nothing was left to do" in call("run", *words).stdout
    done = call("run", *words_for(scene), "--kv", "knorm@0.5", "--limit", 3, "-o", output)
    assert done.exit_code == 0, done.stderr
    assert len(scene.lines_of(output, "records")) == 4 + 3


def test_options_go_before_the_run_file_s_keys(scene: Scene) -> None:
    run_file = scene.run_file()
    done = call("run", run_file, "--limit", 1, "--output", scene.folder / "one")
    assert done.exit_code == 0, done.stderr
    assert len(scene.lines_of(scene.folder / "one", "records")) == 1
    assert not scene.output.exists()


def test_what_is_missing_is_told_with_the_command_that_encodes_it(scene: Scene) -> None:
    words = [*words_for(scene), "--limit", "1", "--output", str(scene.folder / "x")]
    done = call("eval", *words)
    assert done.exit_code == 1
    (line,) = [line for line in done.stdout.splitlines() if "encode them with: " in line]
    repeated = shlex.split(line.partition("encode them with: encodeonce ")[2])
    assert repeated[0] == "precompute"
    assert call(*repeated).exit_code == 0
    assert call("eval", *words).exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is no run file, and no --model and --tasks. Type e.g.: encodeonce run --model"),
        (["--model", "demo"], "there is no run file, and no --tasks."),
        (["--tasks", "demo"], "there is no run file, and no --model."),
        (["-m", "demo", "-t", "dmo"], "--tasks: no benchmark is called 'dmo'"),
        (["-m", "demo", "-t", "gqa:/d"], "images: is missing. See: encodeonce benchmarks gqa"),
        (["-m", "demo", "-t", "demo", "--device", "gpu"], "--device: model.device: must be auto"),
        (["-m", "demo", "-t", "demo", "--kv", "snapkv@2"], "--kv: kv.0.keep: must be at most 1"),
        (["-m", "demo", "-t", "demo", "--kv", "snapkv@x"], "--kv: kv.0.keep: must be a number"),
        (["-m", "demo", "-t", "demo", "--frames", "0"], "--frames: frames.num_frames: must be"),
        (["-m", "demo", "-t", "demo", "--limit", "0"], "--limit: limit: must be at least 1; got 0"),
        (["-m", "demo", "-t", "demo", "--set", "wrkers=1"], "--set wrkers=1: wrkers: unknown key"),
        (["absent.yaml", "--limit", "1"], "cannot read the run file absent.yaml"),
    ],
)
def test_mistakes_are_one_message_in_the_user_s_words(words: list[str], message: str) -> None:
    done = call("run", *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.startswith("encodeonce: ")


def test_init_writes_a_file_and_overwrites_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.yaml"
    done = call("init", path, "--model", "demo", "--tasks", "demo", "--kv", "full,random@0.5",
                "--seed", "3", "--set", "workers.num_workers=4")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert f"encodeonce run {path}" in done.stdout
    config = load_config(path)
    assert config.workers.num_workers == 4
    assert [spec.options for spec in config.kv] == [{}, {"seed": 3}]
    text = path.read_text()
    done = call("init", path)
    assert done.exit_code == 1
    assert f"{path} exists" in done.stderr
    assert path.read_text() == text
    assert "name the file to write" in call("init").stderr
    wrong = tmp_path / "wrong.yaml"
    assert "--kv: " in call("init", wrong, "--kv", "snapkw").stderr
    assert not wrong.exists()


def test_every_option_is_in_the_command_that_is_told() -> None:
    options = RunOptions(
        model="demo", tasks=["demo"], kv=["full"], weights=["rtn"], adapters=["none"], frames="4",
        limit=1, device="cpu", seed=2, settings=["limit=3"], output=Path("o"),
    )  # fmt: skip
    words = shlex.split(options.command("precompute"))
    given = {word for word in words if word.startswith("--")}
    assert given == {
        *("--model", "--tasks", "--kv", "--weights", "--adapters", "--frames", "--limit"),
        *("--device", "--seed", "--set", "--output"),
    }


def test_progress_is_shown_from_the_first_second(scene: Scene) -> None:
    path = scene.run_file()
    lines = call("run", path).stderr.splitlines()
    assert lines[:3] == [
        "loading libraries",
        "reading benchmarks and checkpoint",
        "precompute: 0/2 media, loading",
    ]
    assert lines[-1].startswith("evaluate: 4/4 answers, hit rate 100.0 %, errors 0, ")


def test_progress_for_programs_is_an_object_a_line(scene: Scene) -> None:
    done = call("run", scene.run_file(), "--progress", "json")
    assert done.exit_code == 0
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events[0] == {"event": "phase", "phase": "loading libraries"}
    ends = [one for one in events if one.get("is_last")]
    assert [(one["stage"], one["done"], one["total"]) for one in ends] == [
        ("precompute", 2, 2),
        ("evaluate", 4, 4),
    ]
    assert ends[1]["hit_rate"] == 1.0
    assert not call("run", scene.run_file(), "--progress", "none").stderr
    refused = call("run", scene.run_file(), "--progress", "loud")
    assert refused.exit_code == 1
    assert "auto, json or none; got 'loud'" in refused.stderr
