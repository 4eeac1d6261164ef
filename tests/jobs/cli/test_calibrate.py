"""``encodeonce calibrate prefixkv``, and what a run does with the profile."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app


def write_run(folder: Path, **more: object) -> Path:
    config = {
        "model": {"path": "demo", "dtype": "float32"},
        "benchmarks": [{"name": "demo"}],
        "frames": {"policy": "uniform_inclusive", "num_frames": 8},
        "cache": {"path": str(folder / "cache"), "on_miss": "encode"},
        "workers": {"executor": "local"},
        "limit": 2,
        "output": str(folder / "out"),
        **more,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def test_a_profile_is_used_and_refused_for_another_model(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    calibrate = ["calibrate", "prefixkv", str(write_run(tmp_path)), "--output", str(profile)]
    result = CliRunner().invoke(app, [*calibrate, "--keep", "0.3", "--num-samples", "2"])
    assert result.exit_code == 0, result.output
    content = json.loads(profile.read_text("utf-8"))
    assert content["num_samples"] == 2
    (shares,) = content["layers"].values()
    assert sum(shares) / len(shares) == pytest.approx(0.3, abs=0.005)

    setting = {"method": "prefixkv", "keep": 0.3, "options": {"profile": str(profile)}}
    run = write_run(tmp_path, kv=["full", setting])
    result = CliRunner().invoke(app, ["run", str(run)])
    assert result.exit_code == 0, result.output

    profile.write_text(json.dumps({**content, "checkpoint_sha256": "0" * 64}), encoding="utf-8")
    run = write_run(tmp_path, kv=["full", setting], output=str(tmp_path / "other"))
    result = CliRunner().invoke(app, ["run", str(run)])
    assert result.exit_code == 1
    assert "calibrated on demo" in result.output
    assert "not on this model" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep", "2"], "--keep is a fraction above 0, at most 1; got 2"),
        (["--num-samples", "5"], "--num-samples 5: the run has 2; ask for fewer"),
    ],
)
def test_what_cannot_be_calibrated_is_one_error(
    tmp_path: Path, options: list[str], message: str
) -> None:
    arguments = ["calibrate", "prefixkv", str(write_run(tmp_path)), "--output", str(tmp_path / "p")]
    result = CliRunner().invoke(app, [*arguments, *options], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert message in result.output
