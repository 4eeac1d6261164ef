"""The embedded demo's splits."""

import json
from pathlib import Path

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import BenchmarkError


def test_the_splits_share_no_clip_and_make_up_the_whole() -> None:
    samples = {
        split: list(load_benchmark("demo", {"split": split}).samples())
        for split in ("heldout", "train", "all")
    }
    groups = {split: {sample.group for sample in found} for split, found in samples.items()}
    assert groups["heldout"]
    assert not groups["heldout"] & groups["train"]
    assert len(samples["heldout"]) + len(samples["train"]) == len(samples["all"])
    assert list(load_benchmark("demo", {}).samples()) == samples["heldout"]


def test_another_split_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="'heldout', 'train' or 'all'"):
        load_benchmark("demo", {"split": "test"})


def test_another_folder_of_clips_takes_the_place_of_those_that_ship(tmp_path: Path) -> None:
    row = {
        "id": "train-00-place",
        "video": "clips/train-00.mp4",
        "question": "Which digit is at the middle right in the third scene?",
        "answer": "4",
        "tags": {"kind": "place", "split": "train", "form": "free"},
    }
    (tmp_path / "questions.jsonl").write_text(json.dumps(row), encoding="utf-8")
    demo = load_benchmark("demo", {"split": "train", "folder": str(tmp_path)})
    (sample,) = demo.samples()
    assert sample.id == row["id"]
    assert demo.media_root == tmp_path
    assert not [*load_benchmark("demo", {"folder": str(tmp_path)}).samples()]
