"""``encodeonce bench adapters``: every way answers the same; what it prints, and what it stores."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.harness.bench.adapters import measure
from encodeonce.jobs.cli.app import app
from encodeonce.models.adapters.dispatch import read_table
from encodeonce.models.adapters.operators import KINDS

OURS = ["ours", *(f"ours, {kind}" for kind in KINDS)]


def test_every_way_answers_the_same_and_everything_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "has_peft", lambda: False)
    words = ["--random", "llava-tiny", "--number", "3", "--samples", "1", "--samples", "3"]
    words += ["--tokens", "3", "--tokens", "1", "--rounds", "2", "--max-batch", "4", "--rank", "3"]
    words += ["--tune", "--table", str(tmp_path / "table.json")]
    words += ["--prefix-tokens", "24", "--device", "cpu", "--output", str(tmp_path / "all.json")]
    done = CliRunner(env={"COLUMNS": "240"}).invoke(app, ["bench", "adapters", *words])
    assert done.exit_code == 0, done.output
    for text in ("3 adapters, 3 samples each", "copy-merge", 'not installed: pip install "encode'):
        assert text in done.stdout
    found = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert found["num_prompt_tokens"] == 24
    assert found["num_linears"] == 14
    assert not found["has_peft"]
    assert found["table"] == "table.json was measured just now"
    table = read_table(tmp_path / "table.json")
    assert {point.shape[0] for point in table.points} == {1, 2, 4, 24, 48, 96}
    assert [cell["num_samples"] for cell in found["cells"]] == [1, 3]
    for cell in found["cells"]:
        ways = {way["way"]: way for way in cell["ways"]}
        assert list(ways) == ["base, no adapter", "copy-merge", *OURS, "ours, by table"]
        merged, base = ways["copy-merge"], ways["base, no adapter"]
        assert (merged["num_batches"], merged["rows"]) == (3, cell["num_samples"])
        num_rows = 3 * cell["num_samples"]
        for way in cell["ways"]:
            assert len(way["prefill_s"]) == 2
            assert [len(steps) for steps in way["steps_s"]] == [2, 2]
        for name in (*OURS, "ours, by table"):
            assert (ways[name]["num_batches"], ways[name]["rows"]) == (
                -(-num_rows // 4),
                min(4, num_rows),
            )
            assert 0 <= ways[name]["log_prob"] < 1e-4  # some round alike, on some machines
            assert ways[name]["flips"] == 0
            assert ways[name]["operations"] > 1
        assert max(ways[name]["log_prob"] for name in OURS) > 0, "all are one computation"
        assert base["log_prob"] is None
        assert merged["operations"] == base["operations"] == 0


def test_adapters_move_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else ways that forget the adapters would agree as well."""
    seen = {}
    compare = measure._compare

    def noting(found: measure.Measurement, mine: measure.Written, other: measure.Written) -> None:
        compare(found, mine, other)
        seen[found.way] = mine.log_probs

    monkeypatch.setattr(measure, "has_peft", lambda: False)
    monkeypatch.setattr(measure, "_compare", noting)
    words = ["--random", "llava-tiny", "--number", "2", "--samples", "1", "--tokens", "2"]
    words += ["--rounds", "1", "--device", "cpu", "--table", str(tmp_path / "none.json")]
    done = CliRunner().invoke(app, ["bench", "adapters", *words])
    assert done.exit_code == 0, done.output
    assert "there is no none.json" in done.stdout and "ours, by table" not in seen
    log_probs = seen["ours"]
    assert (log_probs[0] - log_probs[1]).abs().max() > 1e-3
