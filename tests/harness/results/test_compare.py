"""Two runs compared: what changed, which is better, and what is not compared."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from encodeonce.harness.report.compare import compare_figure, compare_headline, compare_sections
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.results.compare import CompareError, Side, compare
from encodeonce.harness.results.paired import paired_difference
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.record import CacheUse, Record, SampleError
from encodeonce.harness.run.scoring import REFERENCE
from encodeonce.models.kv.spec import FULL, KVSpec
from tests.harness.runs import a_record, write_run

SNAPKV = KVSpec(method="snapkv", keep=0.25)
BROKEN = SampleError(type="UndecodableMedia", message="clip.mp4 is truncated")


def side(folder: Path, records: Sequence[Record], **config: Any) -> Side:
    run = write_run(folder, records, **config).description()
    return Side(name=folder.name, run=run, records=tuple(records), precompute=None)


def pair(
    tmp_path: Path, first: Sequence[Record], second: Sequence[Record], **config: Any
) -> Summary:
    return compare(side(tmp_path / "a", first), side(tmp_path / "b", second, **config))


def test_flips_are_listed_and_the_difference_is_the_paired_one(tmp_path: Path) -> None:
    first = [a_record("a1"), a_record("a2"), a_record("b1", 0.0), a_record("b2")]
    second = [a_record("a1", 0.0), a_record("a2"), a_record("b1"), a_record("b2", 0.0)]
    (cell,) = pair(tmp_path, first, second)["cells"]
    assert [flip["sample"] for flip in cell["worse"]] == ["a1", "b2"]
    assert cell["worse"][0]["texts"] == ["A", "B"]
    assert [flip["sample"] for flip in cell["better"]] == ["b1"]
    by_hand = paired_difference([1, 1, 0, 1], [0, 1, 1, 0], ["a", "a", "b", "b"])
    assert by_hand is not None
    assert cell["difference"]["mean"] == by_hand.mean == -0.25
    assert (cell["difference"]["low"], cell["difference"]["high"]) == (by_hand.low, by_hand.high)
    assert [score["mean"] for score in cell["scores"]] == [0.75, 0.5]
    assert (cell["num_answered"], cell["num_same_text"]) == (4, 1)


def test_only_samples_that_both_scored_count(tmp_path: Path) -> None:
    first = [a_record("a1"), a_record("a2"), a_record("a3"), a_record("x1")]
    second = [
        a_record("a1"),
        a_record("a2", None),
        a_record("a3", None, text=None, error=BROKEN),
        a_record("y1"),
    ]
    comparison = pair(tmp_path, first, second)
    (cell,) = comparison["cells"]
    assert (cell["num_in_both"], cell["num_answered"], cell["num_scored"]) == (3, 2, 1)
    assert cell["num_errors"] == [0, 1]
    assert (cell["only_in_first"], cell["only_in_second"]) == (["x1"], ["y1"])
    page = to_markdown("t", compare_sections(comparison))
    assert "only in A: 1 sample (x1)" in page
    assert "without an answer in B: 1 sample" in page
    assert "answered in both, but not scored in both: 1 sample" in page


def test_another_question_under_the_same_id_is_refused_and_counted(tmp_path: Path) -> None:
    first = [a_record("a1"), a_record("a2"), a_record("a3")]
    second = [a_record("a1", 0.0, question="Another?"), a_record("a2", target="C"), a_record("a3")]
    comparison = pair(tmp_path, first, second)
    (cell,) = comparison["cells"]
    assert cell["other_question"] == ["a1", "a2"]
    assert cell["num_scored"] == 1 and cell["worse"] == []
    page = to_markdown("t", compare_sections(comparison))
    assert "not compared, as their question or target differs: 2 samples (a1, a2)" in page


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ([a_record("z1", benchmark="other")], r"no sample in common: b \(1 samples\) and other"),
        ([a_record("a1", question="Another?")], "1 of the 1 samples .* two versions of the data"),
        ([a_record("a1", None, text=None, error=BROKEN)], "none of the 1 samples .* was answered"),
    ],
)
def test_nothing_to_compare_is_an_error_that_says_why(
    tmp_path: Path, second: list[Record], words: str
) -> None:
    with pytest.raises(CompareError, match=words):
        pair(tmp_path, [a_record("a1")], second)


def test_what_was_changed_is_told_field_by_field(tmp_path: Path) -> None:
    comparison = pair(
        tmp_path,
        [a_record("a1")],
        [a_record("a1")],
        frames={"policy": "uniform_inclusive", "num_frames": 16},
        limit=5,
    )
    assert {"field": "frames.num_frames", "values": [8, 16]} in comparison["changed"]
    assert [change["field"] for change in comparison["changed"]] == ["frames.num_frames"]
    others = [change["field"] for change in comparison["changed_without_effect_on_answers"]]
    assert set(others) == {"limit", "output"}
    same = pair(tmp_path / "same", [a_record("a1")], [a_record("a1")])
    page = to_markdown("t", compare_sections(same))
    assert "Nothing that could change an answer." in page


def test_a_key_by_its_old_name_in_an_earlier_run_is_no_difference(tmp_path: Path) -> None:
    before, after = side(tmp_path / "a", [a_record("a1")]), side(tmp_path / "b", [a_record("a1")])
    config = {**before.run["config"], "decoder": before.run["config"]["video_backend"]}
    del config["video_backend"]
    earlier = replace(before, run={**before.run, "config": config})
    assert compare(earlier, after)["changed"] == []


def test_two_variants_of_one_run_differ_in_what_their_names_mean(tmp_path: Path) -> None:
    records = [
        a_record("a1"),
        a_record("a1", 0.0, variant=f"none/{SNAPKV.title}"),
    ]
    run = write_run(tmp_path / "r", records, kv=[FULL, SNAPKV]).description()
    full, snapkv = (
        Side(
            name=f"r:{one.variant}",
            run=run,
            records=(one,),
            precompute=None,
            others=tuple(other for other in records if other is not one),
        )
        for one in records
    )
    comparison = compare(full, snapkv)
    changes = {change["field"]: change["values"] for change in comparison["changed"]}
    assert changes["variant kv"] == ["full", "snapkv@0.25"]
    assert changes["variant kv.keep"] == [1.0, 0.25]
    (cell,) = comparison["cells"]
    assert [flip["sample"] for flip in cell["worse"]] == ["a1"]
    assert any(
        "count in full" in s for part in compare_sections(comparison) for s in part.sentences
    )


def test_runs_of_several_variants_are_compared_variant_by_variant(tmp_path: Path) -> None:
    def records(*scores: float, extra: str) -> list[Record]:
        names = ("none/full", "none/snapkv@0.25", extra)
        return [a_record("a1", s, variant=v) for s, v in zip(scores, names, strict=True)]

    comparison = pair(
        tmp_path, records(1, 1, 1, extra="none/h2o@0.5"), records(1, 0, 0, extra="int4/full")
    )
    found = {cell["first_variant"]: len(cell["worse"]) for cell in comparison["cells"]}
    assert found == {"none/full": 0, "none/snapkv@0.25": 1}
    assert comparison["variants_only_in_first"] == ["none/h2o@0.5"]
    assert comparison["variants_only_in_second"] == ["int4/full"]
    assert [line.partition(":")[0] for line in compare_headline(comparison)] == [
        "b, none/full",
        "b, none/snapkv@0.25",
    ]
    with pytest.raises(CompareError, match="Choose one of each: FOLDER:VARIANT"):
        pair(
            tmp_path / "none",
            records(1, 1, 1, extra="none/h2o@0.5")[1:],
            [a_record("a1", variant="int4/full")],
        )


def test_times_are_per_answer_and_hits_of_each(tmp_path: Path) -> None:
    slow = {"decode": 3.0, "prefill": 1.0}
    first = [a_record("a1", seconds=slow), a_record("a2", seconds={})]
    second = [a_record("a1", cache=CacheUse(num_units=8, num_hits=6)), a_record("a2")]
    comparison = pair(tmp_path, first, second)
    stages = {stage["stage"]: stage for stage in comparison["stages"]}
    assert stages["decode"]["seconds"] == [1.5, None] and stages["decode"]["ratio"] is None
    assert stages["prefill"]["seconds"] == [0.5, 0.5] and stages["prefill"]["ratio"] == 1.0
    assert stages["all"]["ratio"] == pytest.approx(4.0)
    assert comparison["hit_rates"]["evaluate"] == [None, 0.75]


def test_likelihoods_are_compared_on_the_same_texts(tmp_path: Path) -> None:
    def measured(sample: str, log_prob: float) -> Record:
        return a_record(
            sample,
            None,
            text=None,
            log_probs={REFERENCE: log_prob},
            num_scored_tokens={REFERENCE: 4},
        )

    first = [measured("a1", -4.0), measured("a2", -8.0), measured("a3", -100.0)]
    second = [measured("a1", -6.0), measured("a2", -10.0)]
    comparison = pair(tmp_path, first, second)
    (cell,) = comparison["cells"]
    assert [side["per_token"] for side in cell["nll"]] == [1.5, 2.0]
    page = to_markdown("t", compare_sections(comparison))
    assert "A 1.5000, B 2.0000 per token (+0.5000; 8 tokens)" in page
    assert "texts identical" not in page


def test_the_figure_shows_each_difference_and_model_output_is_only_text(tmp_path: Path) -> None:
    hostile = "<script>|\n\x1b[31m" + "x" * 200
    first = [a_record("a1", text=hostile), a_record("b1")]
    second = [a_record("a1", 0.0, text=hostile), a_record("b1")]
    comparison = pair(tmp_path, first, second)
    words = [e.text or "" for e in ElementTree.fromstring(compare_figure(comparison)).iter()]
    difference = comparison["cells"][0]["difference"]
    low, high = (f"{100 * difference[end]:+.1f}" for end in ("low", "high"))
    assert f"-50.0 ({low} to {high})" in words
    page = to_markdown("t", compare_sections(comparison))
    assert "<script>" not in page and "\x1b" not in page
    assert all(line.count(" | ") == 5 for line in page.splitlines() if line.startswith("| a1"))
