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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * TIMEOUT_S)]
SEEDS = (1, 2, 3)
VIDEO = {"image": None, "video": "v.mp4"}


def write_run(folder: Path, model: Path, **line: object) -> None:
    """Write pictures, and a run file with a question about each."""
    rows = []
    for seed in SEEDS:
        pictured(seed).save(folder / f"{seed}.png")
        row = {"id": str(seed), "image": f"{seed}.png", "question": "Which?", "answer": "one"}
        rows.append(json.dumps({**row, **line}))
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


@needs_vllm
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


@needs_vllm
@pytest.mark.parametrize(
    ("line", "more", "words"),
    [
        ({"clip_start_s": 1, "clip_end_s": 2, **VIDEO}, (), "vLLM is given whole files"),
        (
            VIDEO,
            ("--set", "frames={policy: uniform_interior, num_frames: 8}"),
            "frames.policy is 'uniform_interior', which vLLM does not have",
        ),
        ({}, ("--dry-run",), "only vLLM knows its keys"),
    ],
)
def test_what_vllm_would_show_otherwise_is_refused(
    tmp_path: Path, line: dict[str, object], more: tuple[str, ...], words: str
) -> None:
    write_run(tmp_path, Path("demo"), **line)
    done = encodeonce(tmp_path, "precompute", "run.yaml", "--for", "vllm", *more)
    assert done.returncode == 1
    assert words in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("engine", "words"),
    [("sglang", "allowed: transformers, vllm"), ("vllm", "needs vLLM, which is not installed")],
)
def test_an_engine_that_is_not_there_is_named(tmp_path: Path, engine: str, words: str) -> None:
    if engine == "vllm" and not needs_vllm.args[0]:
        pytest.skip("vLLM is installed")
    write_run(tmp_path, Path("demo"))
    done = encodeonce(tmp_path, "precompute", "run.yaml", "--for", engine)
    assert done.returncode == 1
    assert words in " ".join(done.stdout.split())
