"""``encodeonce bench engine``: what it prints and what it stores."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.harness.bench.limits import Limits, measure_limits
from encodeonce.jobs.cli.app import app


def test_every_way_answers_the_same_and_everything_is_stored(tmp_path: Path) -> None:
    words = ["--random", "llava-tiny", "--pictures", "4", "--rounds", "2", "--new-tokens", "3"]
    words += ["--dtype", "float32", "--device", "cpu", "--output", str(tmp_path / "all.json")]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["bench", "engine", *words])
    assert done.exit_code == 0, done.output
    for text in ("4 pictures x 3 questions x 3 tokens", "12 of 12", "as fast as generate"):
        assert text in done.stdout
    found = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert [way["batch"] for way in found["ways"]] == [1, 3, 3, 6, 12]
    for way in found["ways"]:
        assert way["num_same"] == 12
        assert len(way["total_s"]) == 2
    last = found["ways"][-1]
    for total, spent in zip(last["total_s"], last["spent"], strict=True):
        assert 0 < sum(spent.values()) < total
    assert len(found["limits"]) == 2
    assert all(0 < share < 1 for share in found["share"]["prefill"] + found["share"]["decode"])
    assert found["num_prefix_tokens"] > 16


def test_a_limit_is_the_larger_of_two_times() -> None:
    limits = Limits(flops=100.0, bandwidth=10.0)
    assert limits.seconds(num_bytes=20, num_operations=100) == 2.0
    assert limits.seconds(num_bytes=20, num_operations=500) == 5.0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_machine_has_limits(dtype: str) -> None:
    import torch

    found = measure_limits(getattr(torch, dtype), torch.device("cpu"))
    assert found.flops > 1e7
    assert found.bandwidth > 1e7
