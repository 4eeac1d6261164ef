"""``encodeonce bench peers`` inside VLMEvalKit, of which it needs a checkout."""

import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app
from tests.plugins.vlmevalkit.kit import SHIM, needs_kit

pytestmark = [needs_kit, pytest.mark.slow, pytest.mark.timeout(1200)]
JOB = ("--questions", "2", "--rounds", "1", "--new-tokens", "8")


@pytest.mark.parametrize(
    ("what", "num_units"),
    [(("--media", "2"), 2 * 8), (("--random", "llava-tiny", "--media", "2"), 2)],
)
def test_the_kit_asks_and_our_model_answers_from_the_store(
    what: tuple[str, ...], num_units: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.pathsep.join(filter(None, [str(SHIM), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)
    words = [*what, *JOB, "--python", f"vlmevalkit={sys.executable}"]
    output = tmp_path / "all.json"
    done = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["bench", "peers", *words, "--output", str(output)]
    )
    assert done.exit_code == 0, done.output
    assert "ours inside VLMEvalKit, warm" in done.output
    found = json.loads(output.read_text(encoding="utf-8"))
    (inside,) = found["ways"]["vlmevalkit-ours"]
    assert found["ways"]["cold"][0]["num_encoded"] == num_units
    assert inside["num_encoded"] == 0
    assert inside["answer_s"] > 0
    assert {"look up", "read", "prefill", "generate"} <= inside["stages"].keys()
    assert found["same_as_first"]["vlmevalkit-ours"] == 4
