"""``bench store`` measures what it claims to, on all contenders alike."""

import json
import re
from pathlib import Path
from typing import Any

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
from encodeonce.harness.report.section import Section


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


def row(name: str, stored_bytes: int, warm_s: float, few_s: float) -> ContenderTimes:
    seconds = {"warm": [9.0, warm_s, 0.001], "warm few": [few_s]}
    return ContenderTimes(
        name=name, dtype="bfloat16", entry_bytes=1000, stored_bytes=stored_bytes, seconds=seconds
    )


def measured(*, entry_mib: float = 144, num_rounds: int = 5, cores: float = 2.0) -> BenchResult:
    options = BenchOptions(dtypes=("bfloat16",), entry_mib=entry_mib, num_rounds=num_rounds)
    result = BenchResult(options=options, cores=[0.5, cores, 2.0])
    result.rows = [
        row("torch.save / load", 1000, 1.0, 1.0),
        row("encodeonce raw", 1000, 0.2, 0.01),
        row("encodeonce zstd", 700, 0.5, 0.1),
        row(MEMCPY, 0, 0.1, 0.01),
    ]
    return result


def claims_of(result: BenchResult) -> Section:
    (found,) = [one for one in sections(result, []) if one.title == "Claims"]
    return found


def test_a_claim_is_kept_only_if_the_medians_say_so() -> None:
    kept = {promise.claim: promise.is_kept for promise in promises(measured())}
    assert kept == {
        "raw, warm read / memcpy": False,
        "raw, warm read / torch.load": True,
        "zstd, warm read / torch.load": True,
        "zstd, warm read / hdf5plugin on the same file": None,
        "zstd, 8 frames / torch.load": False,
        "zstd, bytes / .pt": False,
    }


def test_at_the_published_sizes_claims_are_judged_and_their_spread_is_shown() -> None:
    table = claims_of(measured()).table
    assert table is not None
    rows = {cells[0]: cells[2:] for cells in table.rows}
    assert rows["raw, warm read / torch.load"] == ("5.00", "1.00 to 5.00", "≥ 4", "kept")
    assert rows["raw, warm read / memcpy"][-1] == "NOT kept"
    assert to_json(measured(), [])["not_judged"] == []


@pytest.mark.parametrize(
    ("less", "why"),
    [
        ({"entry_mib": 18}, r"entries have 18 MiB, not 144 \(--entry-mib 144\)"),
        ({"entry_mib": 143}, r"entries have 142.875 MiB"),
        ({"num_rounds": 4}, r"4 rounds, not 5 \(--rounds 5\)"),
        ({"cores": 1.1}, "something else used the machine: 2 threads had 1.1 cores"),
    ],
)
def test_a_smaller_or_disturbed_measurement_gives_figures_without_a_verdict_and_says_why(
    less: dict[str, Any], why: str
) -> None:
    claims = claims_of(measured(**less))
    assert claims.table is not None
    assert all("kept" not in cell for cells in claims.table.rows for cell in cells)
    assert claims.table.rows[1][2:] == ("5.00", "1.00 to 5.00", "≥ 4")
    assert re.search(f"No verdict: .*{why}", " ".join(claims.sentences))
    content = to_json(measured(**less), [])
    assert {one["is_kept"] for one in content["promises"]} == {None}
    assert re.search(why, content["not_judged"][0])


def test_an_entry_has_at_least_the_frames_that_are_picked_from_it() -> None:
    assert BenchOptions(entry_mib=1).num_frames == 8
    assert BenchOptions(entry_mib=144).num_frames == pytest.approx(128)
