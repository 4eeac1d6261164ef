"""``bench store`` measures what it claims to, on all contenders alike."""

import json
from pathlib import Path

import pytest

from encodeonce.harness.bench.store import (
    MEMCPY,
    BenchOptions,
    BenchResult,
    ContenderTimes,
    run_bench,
)
from encodeonce.harness.bench.store_report import promises, sections, to_json
from encodeonce.harness.bench.store_small import run_small


def test_every_contender_reads_back_what_it_wrote_and_is_measured(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    options = BenchOptions(entry_mib=9, num_rounds=1, dtypes=("bfloat16",), folder=tmp_path)
    result = run_bench(options, lambda done, total: steps.append((done, total)))
    names = {row.name for row in result.rows}
    assert {"encodeonce zstd", "encodeonce raw", "torch.save / load", MEMCPY} <= names
    for row in result.rows:
        assert row.median_s("warm")
        assert row.median_s("warm few")
        if row.name != MEMCPY:
            assert row.stored_bytes > 0
            assert row.median_s("write")
    zstd, raw = (result.row(f"encodeonce {codec}", "bfloat16") for codec in ("zstd", "raw"))
    assert zstd is not None
    assert raw is not None
    assert zstd.stored_bytes < 0.7 * raw.stored_bytes
    assert steps == [(1, 2), (2, 2)]
    assert 0 < min(result.cores) <= max(result.cores) <= 2.5
    assert list(tmp_path.iterdir()) == []

    small = run_small(200, tmp_path)
    ours, each = small
    assert ours.num_files < 10
    assert each.num_files == 200
    titles = [section.title for section in sections(result, small)]
    assert titles[0].startswith("8 frames an entry")
    json.dumps(to_json(result, small))


def test_a_claim_is_kept_only_if_the_medians_say_so() -> None:
    def row(name: str, stored_bytes: int, warm_s: float, few_s: float) -> ContenderTimes:
        seconds = {"warm": [9.0, warm_s, 0.0], "warm few": [few_s]}
        return ContenderTimes(
            name=name,
            dtype="bfloat16",
            entry_bytes=1000,
            stored_bytes=stored_bytes,
            seconds=seconds,
        )

    result = BenchResult(options=BenchOptions(dtypes=("bfloat16",)))
    result.rows = [
        row("torch.save / load", 1000, 1.0, 1.0),
        row("encodeonce raw", 1000, 0.2, 0.01),
        row("encodeonce zstd", 700, 0.5, 0.1),
        row(MEMCPY, 0, 0.1, 0.01),
    ]
    kept = {promise.claim: promise.is_kept for promise in promises(result)}
    assert kept == {
        "raw, warm read / memcpy": False,
        "raw, warm read / torch.load": True,
        "zstd, warm read / torch.load": True,
        "zstd, warm read / hdf5plugin on the same file": None,
        "zstd, 8 frames / torch.load": False,
        "zstd, bytes / .pt": False,
    }


def test_an_entry_has_at_least_the_frames_that_are_picked_from_it() -> None:
    assert BenchOptions(entry_mib=1).num_frames == 8
    assert BenchOptions(entry_mib=144).num_frames == pytest.approx(128)
