"""Files on users' disks keep working: a run, its store and its files as 9e61cdd left them.

That is the last commit before the modules were moved to their present folders. The fixture is the
demo under ten variants, cut to three questions on one clip, with placeholders for paths.
"""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.datasets import prompts
from encodeonce.harness.run.jsonl import read_json_lines
from encodeonce.jobs.cli.app import app

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_of_9e61cdd"
DEMO = Path(prompts.__file__).parent / "demo"
NUM_ANSWERS = 30


def run(*words: object) -> Result:
    runner = CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "160"})
    return runner.invoke(app, [*map(str, words)], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copied = tmp_path / "old"
    shutil.copytree(FIXTURE, copied)
    for name in ("run.json", "precompute.jsonl"):
        path = copied / "results" / name
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("@FOLDER@", str(copied)).replace("@DEMO@", str(DEMO)))
    monkeypatch.chdir(copied)
    return copied


def records(folder: Path) -> dict[tuple[str, str], dict[str, object]]:
    lines = read_json_lines(folder / "results" / "records.jsonl")
    return {(line["sample"], line["variant"]): line for line in lines}


def test_a_finished_run_has_nothing_left_to_do(folder: Path) -> None:
    before = (folder / "results" / "records.jsonl").read_bytes()
    description = json.loads((folder / "results" / "run.json").read_text())
    done = run("run", "run.yaml")
    assert done.exit_code == 0, done.output
    assert f"nothing was left to do: {NUM_ANSWERS} of {NUM_ANSWERS} answers are" in done.output
    assert (folder / "results" / "records.jsonl").read_bytes() == before
    now = json.loads((folder / "results" / "run.json").read_text())
    # What is no part of them may be told in other words: keys can be renamed and added.
    for part in ("fingerprint", "identity", "variants"):
        assert now[part] == description[part]


def test_a_run_that_was_stopped_goes_on_from_the_old_store(folder: Path) -> None:
    before = records(folder)
    last = sorted({sample for sample, _ in before})[-1]
    path = folder / "results" / "records.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["sample"] != last]
    assert len(kept) == NUM_ANSWERS - 10
    path.write_text("".join(kept), encoding="utf-8")
    done = run("run", "run.yaml")
    assert done.exit_code == 0, done.output
    after = records(folder)
    assert after.keys() == before.keys()
    answers = ("text", "token_ids", "extracted", "score", "question", "target", "run")
    for key, record in before.items():
        assert [after[key][name] for name in answers] == [record[name] for name in answers]
    use = [after[key]["cache"] for key in after if key[0] == last]
    assert sum(one["num_hits"] for one in use) > 0  # type: ignore[index]
    assert sum(one["num_encoded"] for one in use) == 0  # type: ignore[index]


def test_it_is_reported_compared_and_exported(folder: Path) -> None:
    assert run("report", "results").exit_code == 0
    compared = run("compare", "results:none/full", "results:none/by lot")
    assert compared.exit_code == 0, compared.output
    for name in ("lmms-eval", "vlmevalkit"):
        exported = run("export", "results", "--to", name, "--output", folder / name)
        assert exported.exit_code == 0, exported.output
    assert run("store", "verify", folder / "cache" / "features").exit_code == 0
