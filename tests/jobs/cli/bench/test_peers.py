"""``encodeonce bench peers``: what it prints and stores, with vLLM or without."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app


@pytest.mark.timeout(1800)
def test_adapters_are_answered_together_by_us_and_by_vllm(tmp_path: Path) -> None:
    words = ["--media", "1", "--questions", "2", "--rounds", "1", "--new-tokens", "4"]
    words += ["--adapters", "3", "--rank", "4", "--output", str(tmp_path / "all.json")]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["bench", "peers", *words])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    texts = found["ways"]["warm"][0]["texts"]
    assert len(texts) == 3 * 2
    assert len(set(texts.values())) > 1, "the adapters change nothing"
    assert set(found["ways"]) | set(found["missing"]) == {"warm", "engine-vllm"}
    assert all(same >= 4 for same in found["same_as_first"].values())


def test_a_shape_that_vllm_cannot_load_is_refused() -> None:
    done = CliRunner().invoke(app, ["bench", "peers", "--random", "longva-tiny"])
    assert done.exit_code != 0
    assert "allowed here: llava-tiny" in done.output


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("vllm", "must be LIBRARY=PYTHON"),
        ("vllm=", "must be LIBRARY=PYTHON"),
        ("sglang=python", "allowed before '=': vllm, lmms_eval, vlmevalkit"),
        ("vllm=/no/such/python", "it does not run"),
        ("vllm=/bin/false", "it does not run"),
        ("vlmevalkit=python", "the environment variable VLMEVALKIT must name its checkout"),
    ],
)
def test_an_interpreter_that_cannot_be_used_is_refused_before_work(
    word: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLMEVALKIT", "/no/such/folder")
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["bench", "peers", "--python", word])
    assert done.exit_code != 0
    assert said in done.output


def test_only_the_ways_that_were_asked_for_are_run(tmp_path: Path) -> None:
    words = ["--random", "llava-tiny", "--media", "1", "--questions", "1", "--rounds", "1"]
    words += ["--way", "warm", "--way", "plain", "--output", str(tmp_path / "all.json")]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["bench", "peers", *words])
    assert done.exit_code == 0, done.output
    assert "model shards" not in done.output
    found = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert list(found["ways"]) == ["plain", "warm"]
    assert not found["missing"]


def test_an_unknown_way_is_refused_before_work() -> None:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["bench", "peers", "--way", "sglang"])
    assert done.exit_code != 0
    assert "--way 'sglang': known are plain" in done.output
