"""``encodeonce bench kv`` and ``encodeonce bench sweep`` from the command line, at a tiny size."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app
from tests.contracts.logits import NotedLogits

TINY = ["bench", "kv", "--random", "llava-tiny", "--dtype", "float32", "--runs", "1"]


def test_every_budget_and_batch_is_measured_beside_transformers_cache(tmp_path: Path) -> None:
    output = tmp_path / "kv.json"
    options = ["--keep", "0.3", "--keep", "1.0", "--batch", "1", "--batch", "2"]
    size = ["--new-tokens", "3", "--prompt-tokens", "90", "--output", str(output)]
    result = CliRunner().invoke(app, [*TINY, *options, *size], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "Batch of 2: prompts of 90 tokens, 3 new tokens" in result.output
    found = json.loads(output.read_text("utf-8"))
    ways = {(way["name"], way["batch"]): way for way in found["ways"]}
    assert set(ways) == {
        (name, batch)
        for name in ("transformers' cache", "prefixkv@0.3", "prefixkv@1")
        for batch in (1, 2)
    }
    for batch in (1, 2):
        full = ways["transformers' cache", batch]
        assert full["kept_bytes"] == full["full_bytes"] > 0
        assert ways["prefixkv@1", batch]["kept_bytes"] == full["full_bytes"]
        assert ways["prefixkv@0.3", batch]["kept_bytes"] == pytest.approx(
            0.3 * full["full_bytes"], rel=0.03
        )
        assert ways["prefixkv@0.3", batch]["num_generated_tokens"] == 3 * batch
        assert set(ways["prefixkv@0.3", batch]["stages_s"][0]) >= {
            "prefill",
            "compress",
            "generate",
        }
    assert 2 * ways["prefixkv@0.3", 1]["full_bytes"] == ways["prefixkv@0.3", 2]["full_bytes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt-tokens", "5"], "--prompt-tokens 5: the media and the shortest question"),
        (["--method", "snap"], "there is no method 'snap'. Allowed: full, adakv"),
        (["--keep", "0"], "keep"),
        (["--media", "no.png"], "--media no.png: there is no such file"),
    ],
)
def test_what_cannot_be_measured_is_one_error(options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, [*TINY, *options], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert message in result.output


def test_a_sweep_is_compared_with_a_run_for_each_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    run = tmp_path / "run.yaml"
    config = {
        "model": {"path": "demo", "dtype": "float32"},
        "benchmarks": [{"name": "demo"}],
        "frames": {"policy": "uniform_inclusive", "num_frames": 8},
        "kv": ["full", {"method": "knorm", "keep": [0.2, 0.5]}],
        "output": str(tmp_path / "out"),
    }
    run.write_text(yaml.safe_dump(config), encoding="utf-8")
    output = tmp_path / "sweep.json"
    arguments = ["bench", "sweep", str(run), "--limit", "3", "--runs", "1", "--output", str(output)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    logits.assert_no_close_calls()
    assert "same answers in 9 of 9 cells" in result.output
    found = json.loads(output.read_text("utf-8"))
    assert found["settings"] == ["full", "knorm@0.2", "knorm@0.5"]
    assert len(found["sweep"]["whole_s"]) == len(found["separate"]["whole_s"]) == 1
    assert found["answering_ratio"] > 0


def test_a_run_of_one_setting_is_no_sweep(tmp_path: Path) -> None:
    run = tmp_path / "run.yaml"
    config = {
        "model": {"path": "demo"},
        "benchmarks": [{"name": "demo"}],
        "output": str(tmp_path / "out"),
    }
    run.write_text(yaml.safe_dump(config), encoding="utf-8")
    result = CliRunner().invoke(app, ["bench", "sweep", str(run)], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "kv has one setting" in result.output
