"""``encodeonce bench peers`` with vLLM's ways; `make test-vllm`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.harness.bench.peers.job import WAYS
from encodeonce.harness.bench.peers.run import find_pythons, missing_ways
from encodeonce.jobs.cli.app import app
from tests.plugins.vllm.vllm_here import TIMEOUT_S, needs_vllm

pytestmark = [pytest.mark.slow, needs_vllm, pytest.mark.timeout(3 * TIMEOUT_S)]


def test_every_way_that_is_installed_does_the_job(tmp_path: Path) -> None:
    words = ["--media", "2", "--questions", "2", "--rounds", "1", "--new-tokens", "8"]
    words += ["--output", str(tmp_path / "all.json")]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["bench", "peers", *words])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    ways = {name: rounds[0] for name, rounds in found["ways"].items()}
    assert found["same_as_first"]["cold"] == found["same_as_first"]["warm"] == 4
    assert ways["plain"]["num_encoded"] == 4 * 8
    assert ways["cold"]["num_encoded"] == 2 * 8
    assert ways["warm"]["num_encoded"] == 0
    assert ways["warm"]["num_prefilled"] < 0.7 * ways["plain"]["num_prefilled"]
    missing = missing_ways(WAYS, find_pythons({}))
    assert found["missing"] == missing
    assert ways.keys() | missing.keys() == WAYS.keys()
    assert ways["vllm"]["num_encoded"] == 2 * 8
    assert ways["vllm-connector"]["num_encoded"] == 0
    assert min(found["same_as_first"].values()) >= 3
