"""Every benchmark, in its published layout, through a whole run."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.datasets.registry import load_benchmark
from encodeonce.harness.run.jsonl import read_json_lines
from encodeonce.jobs.cli.app import app
from tests.datasets.benchmarks.test_every_benchmark import EXAMPLES


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Hugging Face's copies out of the user's cache, and its progress bars off stderr."""
    library = importlib.import_module("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    library.disable_progress_bars()


def as_text(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a run file writes them."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}


def run(name: str, folder: Path) -> tuple[Mapping[str, Any], Result]:
    """Run a benchmark's example with the demo model; return its options and the result."""
    (folder / "data").mkdir()
    options = as_text(EXAMPLES[name](folder / "data"))
    content = {
        "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
        "benchmarks": [{"name": name, "options": options}],
        "frames": {"policy": "uniform_inclusive", "num_frames": 6},
        "generation": {"max_new_tokens": 2},
        "cache": {"path": str(folder / "cache")},
        "workers": {"executor": "local"},
        "output": str(folder / "out"),
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    runner = CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "160"})
    return options, runner.invoke(app, ["run", str(folder / "run.yaml")])


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_demo_model_answers_it_and_the_answers_are_scored(name: str, tmp_path: Path) -> None:
    options, done = run(name, tmp_path)
    assert done.exit_code == 0, done.stderr
    benchmark = load_benchmark(name, options)
    asked = {sample.id: sample for sample in benchmark.samples()}
    assert f"{len(asked)} of {len(asked)} answered" in done.stdout
    scores = {}
    for record in read_json_lines(tmp_path / "out" / "records.jsonl"):
        score = benchmark.score(asked[record["sample"]], record["text"]).value
        assert (record["error"], record["score"]) == (None, score)
        scores[record["sample"]] = score
    assert scores.keys() == asked.keys()
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    answers = report["evaluation"]["benchmarks"][name]
    assert answers["num_scored"] == len([one for one in scores.values() if one is not None])


def test_figures_that_a_benchmark_publishes_are_in_the_report(tmp_path: Path) -> None:
    _, done = run("mlvu", tmp_path)
    assert "M-Avg, %: " in done.stdout
    assert "| mlvu: M-Avg, % | " in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
