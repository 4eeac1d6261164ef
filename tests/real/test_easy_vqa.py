"""easy-VQA: the whole package, and a model trained on it, asked through the store."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from encodeonce.datasets.benchmarks.easy_vqa import BENCHMARK
from encodeonce.models.easy_vqa.pictures import load_pictures
from encodeonce.models.easy_vqa.published import rows
from encodeonce.models.easy_vqa.train import train
from tests.real.smollm2 import package_folder

NUM_ASKED = 2000
"""Questions of the test split, on some 200 pictures."""


@pytest.fixture(scope="module", autouse=True)
def package() -> Path:
    return package_folder("easy_vqa")


@pytest.mark.parametrize(
    ("split", "num_questions", "num_yes_or_no", "num_pictures"),
    [("train", 38575, 28407, 4000), ("test", 9673, 7136, 1000)],
)
def test_the_splits_are_as_large_as_published(
    split: str, num_questions: int, num_yes_or_no: int, num_pictures: int
) -> None:
    samples = list(BENCHMARK(split=split).samples())
    assert len(samples) == num_questions
    assert sum(sample.tags["asks"] == "yes or no" for sample in samples) == num_yes_or_no
    assert len({sample.group for sample in samples}) == num_pictures


@pytest.mark.timeout(1800)  # five minutes of a core
def test_a_model_trained_on_the_train_split_is_as_good_as_the_authors(tmp_path: Path) -> None:
    pictures = load_pictures(BENCHMARK(split="train"))
    train(tmp_path / "model", pictures, tower_steps=500, language_steps=500, seed=0)
    run = {
        "model": {"path": str(tmp_path / "model"), "dtype": "float32"},
        "benchmarks": [{"name": "easy_vqa"}],
        "kv": ["full", {"method": "random", "keep": 0.2, "scope": "media"}],
        "limit": NUM_ASKED,
        "check_uncached": 20,
        "cache": {"path": str(tmp_path / "cache")},
        "workers": {"executor": "local"},
        "output": str(tmp_path / "results"),
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    command = [sys.executable, "-m", "encodeonce.jobs.cli.main", "run", str(tmp_path / "run.yaml")]
    subprocess.run(command, check=True)
    report = json.loads((tmp_path / "results" / "report.json").read_text())
    assert report["comparison"]["num_same_text"] == 20
    found = report["variants"]["variants"]
    accuracy = {
        name: variant["benchmarks"]["easy_vqa"]["accuracy"] for name, variant in found.items()
    }
    full, compressed = accuracy["none/full"], accuracy["none/random@0.2:media"]
    assert full["mean"] > 0.938  # the authors', on the whole split
    assert full["low"] > compressed["high"]
    (*_, (name, words)) = list(rows(report))
    assert name == "none/random@0.2:media" and f"{NUM_ASKED} of 9673" in words
