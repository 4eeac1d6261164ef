"""``encodeonce bench peers``: what it prints and stores, with vLLM or without."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.harness.bench.peers.job import WAYS
from encodeonce.harness.bench.peers.run import find_pythons, missing_ways
from encodeonce.jobs.cli.app import app


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_way_that_is_installed_does_the_job(tmp_path: Path) -> None:
    words = ["--media", "2", "--questions", "2", "--rounds", "1", "--new-tokens", "8"]
    words += ["--output", str(tmp_path / "all.json")]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["bench", "peers", *words])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    ways = {name: rounds[0] for name, rounds in found["ways"].items()}
    assert found["same_as_plain"]["cold"] == found["same_as_plain"]["warm"] == 4
    assert ways["plain"]["num_encoded"] == 4 * 8
    assert ways["cold"]["num_encoded"] == 2 * 8
    assert ways["warm"]["num_encoded"] == 0
    assert ways["warm"]["num_prefilled"] < 0.7 * ways["plain"]["num_prefilled"]
    missing = missing_ways(find_pythons({}))
    assert found["missing"] == missing
    assert ways.keys() | missing.keys() == WAYS.keys()
    for name in missing:
        assert name not in ways
    if missing:
        assert "pip install" in done.stdout
    if "vllm" in missing:
        return
    assert ways["vllm"]["num_encoded"] == 2 * 8
    assert ways["vllm-connector"]["num_encoded"] == 0
    assert min(found["same_as_plain"].values()) >= 3


def test_a_shape_that_vllm_cannot_load_is_refused() -> None:
    done = CliRunner().invoke(app, ["bench", "peers", "--random", "longva-tiny"])
    assert done.exit_code != 0
    assert "allowed here: llava-tiny" in done.output


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("vllm", "must be LIBRARY=PYTHON"),
        ("vllm=", "must be LIBRARY=PYTHON"),
        ("sglang=python", "allowed before '=': vllm, lmms_eval"),
        ("vllm=/no/such/python", "it does not run"),
        ("vllm=/bin/false", "it does not run"),
    ],
)
def test_an_interpreter_that_cannot_be_used_is_refused_before_work(word: str, said: str) -> None:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["bench", "peers", "--python", word])
    assert done.exit_code != 0
    assert said in done.output
