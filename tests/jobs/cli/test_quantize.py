"""``encodeonce quantize``: from a run's store, from text, and what it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app
from encodeonce.models.quantization.made_here import ORIGIN_FILE
from tests.jobs.scene import Scene, make_scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path, num_clips=2)


def quantize(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["quantize", *arguments])


def test_a_run_that_is_precomputed_calibrates_and_the_result_evaluates(scene: Scene) -> None:
    model, target = str(scene.folder / "model"), scene.folder / "awq"
    run_file = str(scene.run_file())
    arguments = (model, str(target), "--run", run_file, "--prompts", "3")
    missing = quantize(*arguments)
    assert missing.exit_code == 1
    assert "encodeonce precompute RUN.yaml" in missing.stderr
    assert scene.execute("precompute").exit_code == 0
    done = quantize(*arguments)
    assert done.exit_code == 0, done.stderr
    assert "the group size is 32: 128 does not divide the widths of all layers" in done.stdout
    assert f"weights: [none, {{method: awq, path: {target}}}]" in done.stdout
    origin = json.loads((target / ORIGIN_FILE).read_text())
    assert origin["calibration"]["num_prompts"] == 3
    assert origin["calibration"]["benchmarks"][0]["name"] == "questions"
    # The quantised checkpoint's tower is the model's: nothing is encoded again.
    quantized = {"path": str(target), "dtype": "float32", "device": "cpu"}
    evaluated = scene.execute("eval", model=quantized, output=str(scene.folder / "quantised"))
    assert evaluated.exit_code == 0, evaluated.stderr
    assert "hit rate 100 %, 4 of 4 answered" in evaluated.stdout


def test_text_calibrates_and_rounding_needs_none(scene: Scene) -> None:
    model, text = str(scene.folder / "model"), scene.folder / "text.txt"
    text.write_text("Some text to measure activations on. " * 20)
    usual = ("--dtype", "float32", "--device", "cpu", "--group-size", "32")
    by_text = ("--text", str(text), "--tokens", "64", "--prompts", "4")
    done = quantize(model, str(scene.folder / "a"), *usual, *by_text)
    assert done.exit_code == 0, done.stderr
    assert "groups are" not in done.stdout
    rounding = ("--method", "rtn", "--symmetric", "--bits", "8")
    done = quantize(model, str(scene.folder / "r"), *usual, *rounding)
    assert done.exit_code == 0, done.stderr
    assert json.loads((scene.folder / "r" / ORIGIN_FILE).read_text())["calibration"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--method awq needs calibration: give --text FILE or --run"),
        (("--method", "gptq"), "--method: awq or rtn"),
        (("--method", "rtn", "--bits", "3"), "--bits: 4 or 8"),
        (("--method", "rtn", "--group-size", "20"), "--group-size: a multiple of 8"),
        (("--text", "a", "--run", "b"), "--text or --run, not both"),
        (("--text", "absent.txt"), "cannot read calibration text"),
    ],
)
def test_what_cannot_be_is_said_in_one_message(
    scene: Scene, arguments: tuple[str, ...], message: str
) -> None:
    done = quantize(str(scene.folder / "model"), str(scene.folder / "out"), *arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_about_another_model_is_refused(scene: Scene) -> None:
    done = quantize("demo", str(scene.folder / "out"), "--run", str(scene.run_file()))
    assert done.exit_code == 1
    assert "its features are another model's" in done.stderr
