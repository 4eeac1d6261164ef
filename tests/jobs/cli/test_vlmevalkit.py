"""``encodeonce vlmevalkit``: what is refused before VLMEvalKit starts."""

from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app


def vlmevalkit(*arguments: str, kit: str | None = None) -> Result:
    runner = CliRunner(env={"VLMEVALKIT": kit, "COLUMNS": "1000"})
    return runner.invoke(app, ["vlmevalkit", *arguments])


@pytest.fixture
def run_file(tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"model": {"path": "demo"}}), encoding="utf-8")
    return str(path)


def test_a_checkout_has_to_be_named(run_file: str) -> None:
    done = vlmevalkit(run_file, "--data", "x")
    assert done.exit_code == 1
    assert "environment variable VLMEVALKIT" in done.output


def test_a_folder_that_is_no_checkout_is_refused(run_file: str, tmp_path: Path) -> None:
    for done in (
        vlmevalkit("--kit", str(tmp_path), run_file, "--data", "x"),
        vlmevalkit(run_file, "--data", "x", kit=str(tmp_path)),
    ):
        assert done.exit_code == 1
        assert "is not a checkout of VLMEvalKit" in done.output
        assert "git clone" in done.output


def test_what_follows_the_run_file_is_not_ours(run_file: str) -> None:
    """Otherwise ``--kit`` would be read, and ``--help`` would be ours."""
    done = vlmevalkit(run_file, "--kit", "elsewhere", "--help")
    assert done.exit_code == 1
    assert "where is VLMEvalKit?" in done.output


def test_unknown_keys_are_refused_with_the_allowed_ones(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"model": {"path": "demo", "dtyp": "float32"}}), "utf-8")
    done = vlmevalkit(str(path))
    assert done.exit_code == 1
    assert "model.dtyp: unknown key. Allowed: path" in done.output
