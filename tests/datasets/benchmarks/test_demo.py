"""The embedded demo's splits."""

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
