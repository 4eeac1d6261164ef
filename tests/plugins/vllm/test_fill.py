"""The connector's store filled before any server runs; `make test-vllm`."""

import json
from pathlib import Path

import pytest

from tests.plugins.vllm.server import Server, pictured, serving
from tests.plugins.vllm.vllm_here import (
    TIMEOUT_S,
    demo_checkpoint,
    ec_config,
    encodeonce,
    needs_vllm,
)

pytestmark = [pytest.mark.slow, needs_vllm, pytest.mark.timeout(3 * TIMEOUT_S)]
SEEDS = (1, 2, 3)


def write_run(folder: Path, model: Path) -> None:
    """Write pictures, and a run file with a question about each."""
    rows = []
    for seed in SEEDS:
        pictured(seed).save(folder / f"{seed}.png")
        row = {"id": str(seed), "image": f"{seed}.png", "question": "Which?", "answer": "one"}
        rows.append(json.dumps(row))
    (folder / "questions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    options = {"file": str(folder / "questions.jsonl"), "media_root": str(folder)}
    run = {
        "model": {"path": str(model), "dtype": "float32", "device": "cpu"},
        "benchmarks": [{"name": "questions", "options": options}],
        "cache": {"path": str(folder / "store")},
        "output": str(folder / "out"),
    }
    (folder / "run.yaml").write_text(json.dumps(run), encoding="utf-8")


def asked(server: Server) -> dict[str, int]:
    for seed in SEEDS:
        server.ask("Which digit is at the top left?", seed)
    return server.wait_for("loaded", len(SEEDS))


def test_a_server_encodes_nothing_that_was_filled_before(tmp_path: Path) -> None:
    write_run(tmp_path, demo_checkpoint(tmp_path))
    first = encodeonce(tmp_path, "precompute", "run.yaml", "--for", "vllm")
    assert first.returncode == 0, first.stdout
    assert "3 new, 0 were there, 3 media in the run" in first.stdout
    again = encodeonce(tmp_path, "precompute", "run.yaml", "--for", "vllm")
    assert "0 new, 3 were there" in again.stdout
    with serving(tmp_path / "demo", tmp_path, ec_config(tmp_path / "store")) as server:
        counts = asked(server)
    assert counts["loaded"] == len(SEEDS)
    assert counts.get("encoded", 0) == 0
