"""``precompute --for``: what it refuses before vLLM is loaded."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app

VIDEO = {"image": None, "video": "v.mp4"}


def refused(folder: Path, line: dict[str, object], *words: str) -> str:
    """Ask for a run with one question, and return what is said."""
    row = {"id": "1", "image": "1.png", "question": "Which?", "answer": "one", **line}
    (folder / "questions.jsonl").write_text(json.dumps(row), encoding="utf-8")
    options = {"file": str(folder / "questions.jsonl"), "media_root": str(folder)}
    run = {
        "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
        "benchmarks": [{"name": "questions", "options": options}],
        "cache": {"path": str(folder / "store")},
        "output": str(folder / "out"),
    }
    (folder / "run.yaml").write_text(json.dumps(run), encoding="utf-8")
    done = CliRunner().invoke(app, ["precompute", str(folder / "run.yaml"), *words])
    assert done.exit_code == 1
    return " ".join(done.output.split())


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
    assert words in refused(tmp_path, line, "--for", "vllm", *more)


@pytest.mark.parametrize(
    ("engine", "words"),
    [("sglang", "allowed: transformers, vllm"), ("vllm", "needs vLLM, which is not installed")],
)
def test_an_engine_that_is_not_there_is_named(tmp_path: Path, engine: str, words: str) -> None:
    if engine == "vllm" and find_spec("vllm"):
        pytest.skip("vLLM is installed")
    assert words in refused(tmp_path, {}, "--for", engine)
