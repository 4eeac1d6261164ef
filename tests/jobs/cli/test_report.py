"""``encodeonce report --json``: the figures alone, for programs."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app

OLD_RUN = Path(__file__).parents[2] / "fixtures" / "run_of_9e61cdd"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD_RUN / "results", tmp_path / "results"))


def test_the_figures_go_to_standard_output_and_nothing_else(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    done = CliRunner().invoke(app, ["report", str(folder), "--json", "-"])
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["evaluation"]["benchmarks"]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert CliRunner().invoke(app, ["report", str(folder)]).exit_code == 0
    assert json.loads((folder / "report.json").read_text()) == figures


def test_or_to_a_file(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    done = CliRunner().invoke(app, ["report", str(folder), "--json", str(target)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "evaluation" in json.loads(target.read_text())
    done = CliRunner().invoke(app, ["report", str(folder), "--json", str(tmp_path)])
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr
