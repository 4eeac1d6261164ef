"""What variants share is booked on one of them, and counts for all where two are compared."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from encodeonce.harness.report.compare import compare_sections
from encodeonce.harness.report.figures.times import variants_time_figure
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.results.compare import compare
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.results.shared_time import variant_times
from encodeonce.harness.results.sides import read_side
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.record import Record
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, WeightsSpec
from tests.harness.runs import a_record, write_run

H2O = KVSpec(method="h2o", keep=0.2, scope="media")
KNORM = KVSpec(method="knorm", keep=0.5)
FULL_ID, H2O_ID, KNORM_ID = "none/full", "none/h2o@0.2:media", "none/knorm@0.5"
READ_AND_PREFILL = {"look up": 0.2, "read": 0.3, "prefill": 3.0}


def joint(*, generate: Sequence[float] = (0.5, 1.0)) -> list[Record]:
    """Return the records of two caches that one prefill served, for two media."""
    found = []
    for sample in ("a1", "b1"):
        found += [
            a_record(sample, seconds={**READ_AND_PREFILL, "generate": generate[0]}),
            a_record(sample, variant=H2O_ID, seconds={"compress": 0.1, "generate": generate[1]}),
        ]
    return found


def compared(path: Path, records: list[Record], first: str, second: str) -> Summary:
    write_run(path, records, kv=[FULL, H2O, KNORM])
    return compare(read_side(f"{path}:{first}"), read_side(f"{path}:{second}"))


def test_a_shared_prefill_makes_neither_variant_faster(tmp_path: Path) -> None:
    comparison = compared(tmp_path / "r", joint(), FULL_ID, H2O_ID)
    stages = {one["stage"]: one for one in comparison["stages"]}
    for stage, seconds in READ_AND_PREFILL.items():
        assert stages[stage]["seconds"] == pytest.approx([seconds, seconds])
        assert stages[stage]["is_shared"]
    assert stages["generate"]["ratio"] == pytest.approx(0.5)
    assert not stages["generate"]["is_shared"]
    assert stages["own"]["seconds"] == pytest.approx([0.5, 1.1])
    # Booked seconds would have said 4.0 / 1.1: a speed-up.
    assert stages["all"]["seconds"] == pytest.approx([4.0, 4.6])
    page = to_markdown("t", compare_sections(comparison))
    assert "| prefill (shared) | 3000.0 | 3000.0 | 1.00 |" in page
    assert "'look up', 'read' and 'prefill' served several variants" in page


def test_whichever_side_bears_the_shared_work(tmp_path: Path) -> None:
    there = compared(tmp_path / "a", joint(), FULL_ID, H2O_ID)["stages"]
    back = compared(tmp_path / "b", joint(), H2O_ID, FULL_ID)["stages"]
    by_name = {one["stage"]: one["seconds"] for one in back}
    assert {one["stage"]: one["seconds"][::-1] for one in there} == by_name


def test_a_variant_of_a_sweep_is_charged_what_it_would_take_in_a_run_of_its_own(
    tmp_path: Path,
) -> None:
    write_run(tmp_path / "sweep", joint(), kv=[FULL, H2O])
    seconds = {**READ_AND_PREFILL, "compress": 0.1, "generate": 1.0}
    alone = [a_record(sample, variant=H2O_ID, seconds=seconds) for sample in ("a1", "b1")]
    write_run(tmp_path / "alone", alone, kv=[H2O])
    stages = compare(
        read_side(f"{tmp_path / 'sweep'}:{H2O_ID}"), read_side(str(tmp_path / "alone"))
    )["stages"]
    assert all(one["ratio"] == pytest.approx(1.0) for one in stages)


def test_work_done_again_for_a_variant_added_later_counts_once_for_each() -> None:
    later = [a_record("a1", variant=KNORM_ID, seconds={"prefill": 5.0, "generate": 1.0})]
    times = variant_times([*joint(), *later])
    assert times[FULL_ID].shared["prefill"] == pytest.approx(6.0)
    assert times[KNORM_ID].shared["prefill"] == pytest.approx(5.0)
    # It was in the first pass or in the second: nobody can tell, so the mean.
    assert times[H2O_ID].shared["prefill"] == pytest.approx(4.0 + 3.0)


def test_weights_share_the_encoding_and_no_prefill() -> None:
    other = [a_record("a1", variant="nf4/full", seconds={"prefill": 2.0, "generate": 1.0})]
    one = [a_record("a1", seconds={"encode": 9.0, "prefill": 3.0, "generate": 1.0})]
    times = variant_times([*one, *other])
    assert times["nf4/full"].per_answer == {"encode": 9.0, "prefill": 2.0, "generate": 1.0}
    assert times["none/full"].per_answer == {"encode": 9.0, "prefill": 3.0, "generate": 1.0}
    without = variant_times([*one[:0], *other])["nf4/full"]
    assert without.per_answer == {"prefill": 2.0, "generate": 1.0} and not without.is_sharing


def test_likelihoods_that_an_earlier_version_booked_together_tell_no_variant_apart() -> None:
    joint_score = [
        a_record("a1", seconds={"prefill": 3.0, "compress": 1.0, "score": 2.0}),
        a_record("a1", variant=KNORM_ID, seconds={}),
    ]
    times = variant_times(joint_score)
    assert times[FULL_ID].per_answer == times[KNORM_ID].per_answer
    assert times[KNORM_ID].own == {}


def test_a_run_of_one_variant_shares_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [a_record("a1")])
    write_run(tmp_path / "b", [a_record("a1")])
    comparison = compare(read_side(str(tmp_path / "a")), read_side(str(tmp_path / "b")))
    assert [one["stage"] for one in comparison["stages"]] == ["prefill", "all"]
    assert "(shared)" not in to_markdown("t", compare_sections(comparison))


def test_a_runs_figures_show_shared_work_apart(tmp_path: Path) -> None:
    weights = [NONE, WeightsSpec(method="rtn", label="rtn")]
    records = [*joint(), a_record("a1", variant="rtn/full", seconds={"generate": 7.0})]
    folder = write_run(tmp_path / "r", records, kv=[FULL, H2O], weights=weights)
    summary = summarize_run(folder)
    drawn = variants_time_figure(summary).svg
    assert "original weights: shared by 2 caches, prefill: 6" in drawn
    assert "full cache, prefill" not in drawn
    # The time of an answer, beside plain transformers', is that of the baseline alone.
    assert summary["evaluation"]["seconds_per_answer"] == pytest.approx(4.0)
