"""Every benchmark, in the layout it is published in, through the whole of a run."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from encodeonce.datasets.registry import load_benchmark
from encodeonce.harness.jsonl import read_json_lines
from encodeonce.jobs.cli import app
from tests.datasets.benchmarks.test_every_benchmark import EXAMPLES


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Hugging Face's copies out of the user's cache, and its progress bars off stderr."""
    library = importlib.import_module("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    library.disable_progress_bars()


def as_text(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a run file says them."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_demo_model_answers_it_and_the_answers_are_scored(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    options = as_text(EXAMPLES[name](tmp_path / "data"))
    run_file = tmp_path / "run.yaml"
    content = {
        "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
        "benchmarks": [{"name": name, "options": options}],
        "frames": {"policy": "uniform_inclusive", "num_frames": 3},
        "generation": {"max_new_tokens": 2},
        "cache": {"path": str(tmp_path / "cache")},
        "workers": {"executor": "local"},
        "output": str(tmp_path / "out"),
    }
    run_file.write_text(yaml.safe_dump(content), encoding="utf-8")
    runner = CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "160"})
    done = runner.invoke(app, ["run", str(run_file)])
    assert done.exit_code == 0, done.stderr
    records = list(read_json_lines(tmp_path / "out" / "records.jsonl"))
    asked = {sample.id: sample for sample in load_benchmark(name, options).samples()}
    assert {record["sample"] for record in records} == set(asked)
    benchmark = load_benchmark(name, options)
    scores = []
    for record in records:
        scores.append(benchmark.score(asked[record["sample"]], record["text"]).value)
        assert (record["error"], record["score"]) == (None, scores[-1])
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    answers = report["evaluation"]["benchmarks"][name]
    assert answers["num_scored"] == len([score for score in scores if score is not None])
    assert f"{len(asked)} of {len(asked)} answered" in done.stdout
