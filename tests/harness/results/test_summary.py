"""The sums of records: the numbers that a report prints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from encodeonce.datasets.sample import Benchmark, Sample, Score, Scored
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.report.summary import headline, sections
from encodeonce.harness.results.matrix import summarize_variants
from encodeonce.harness.results.summary import (
    Summary,
    compare_answers,
    problems,
    summarize_evaluation,
    summarize_precompute,
)
from encodeonce.harness.run.record import CacheUse, Record, SampleError
from encodeonce.harness.run.variant import BASELINE

BROKEN = SampleError(type="UndecodableMedia", message="clip.mp4 is truncated")


def record(sample: str, score: float | None, **changes: object) -> Record:
    base = Record(
        run="r",
        benchmark="b",
        sample=sample,
        group=f"video-{sample[0]}",
        question="?",
        target="A",
        tags={"kind": "order" if sample.endswith("1") else "count"},
        text="A",
        score=score,
        logits_sha256="same",
        num_visual_units=8,
        num_prompt_tokens=100,
        num_generated_tokens=2,
        seconds={"prefill": 0.5},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_errors_are_counted_and_kept_out_of_the_accuracy() -> None:
    records = [
        record("a1", 1.0, cache=CacheUse(num_units=8, num_hits=6, num_encoded=2)),
        record("a2", 0.0),
        record("b1", None, text=None, error=BROKEN),
    ]
    summary = summarize_evaluation(records)
    assert summary["num_answered"] == 2
    assert summary["hit_rate"] == pytest.approx(0.75)
    assert summary["benchmarks"]["b"]["accuracy"]["mean"] == pytest.approx(0.5)
    assert summary["benchmarks"]["b"]["by_tag"]["kind: order"]["num_scored"] == 1
    assert summary["errors"] == [
        {"type": "UndecodableMedia", "message": "clip.mp4 is truncated", "samples": ["b/b1"]}
    ]


def test_errors_under_a_variant_say_so() -> None:
    failed = record("b1", None, text=None, error=BROKEN, variant="none/snapkv@0.5")
    (error,) = summarize_evaluation([failed])["errors"]
    assert error["samples"] == ["b/b1 under none/snapkv@0.5"]


def test_an_answer_that_could_not_be_scored_is_not_wrong() -> None:
    summary = summarize_evaluation([record("a1", 1.0), record("a2", None)])
    assert summary["num_answered"] == 2
    assert summary["benchmarks"]["b"]["num_scored"] == 1
    assert summary["benchmarks"]["b"]["accuracy"]["mean"] == 1.0


class Pairs:
    """A benchmark whose own score is the share of groups answered right throughout."""

    measure: ClassVar[str] = "words found"
    media_root = Path()

    def samples(self) -> Iterator[Sample]:
        return iter(())

    def prompt(self, sample: Sample) -> str:
        return sample.question

    def score(self, sample: Sample, answer: str) -> Score:
        return Score(value=1.0, extracted=answer)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        groups = {answer.group for answer in scored}
        wrong = {answer.group for answer in scored if answer.value < 1}
        return {"pairs right, %": 100 * (1 - len(wrong) / len(groups)), "answers": len(scored)}


def test_a_benchmark_adds_the_figures_that_it_publishes() -> None:
    records = [
        record("a1", 1.0), record("a2", 1.0), record("b1", 1.0), record("b2", 0.0),
        record("c1", None, text=None, error=BROKEN), record("d1", None),
    ]  # fmt: skip
    summary = whole_summary(records, [], {"b": Pairs()})
    result = summary["evaluation"]["benchmarks"]["b"]
    assert result["measure"] == "words found"
    assert result["figures"] == {"pairs right, %": 50.0, "answers": 4}
    page = to_markdown("run", sections(summary))
    assert "| b: words found | 75.0 % |" in page
    assert "| b: pairs right, % | 50.00 |\n| b: answers | 4.00 |" in page
    assert "pairs right, %: 50.00" in "\n".join(headline(summary))


def test_a_benchmark_without_figures_of_its_own_has_an_accuracy() -> None:
    summary = whole_summary([record("a1", 1.0)], [])
    assert summary["evaluation"]["benchmarks"]["b"]["figures"] == {}
    assert "| b: accuracy | 100.0 % |" in to_markdown("run", sections(summary))


def test_answers_are_compared_text_by_text_and_bit_by_bit() -> None:
    cached = [record("a1", 1.0), record("a2", 1.0), record("b1", None, error=BROKEN)]
    uncached = [
        record("a1", 1.0, logits_sha256="other"),
        record("a2", 0.0, text="B"),
        record("b1", 1.0),
    ]
    comparison = compare_answers(cached, uncached)
    assert comparison["num_compared"] == 2
    assert comparison["num_same_text"] == 1
    assert comparison["num_same_logits"] == 1
    assert [item["sample"] for item in comparison["different"]] == ["a2"]


def precompute_line(item: str, status: str = "ok", encoded: int = 0, hits: int = 0) -> Summary:
    cache = {**CACHE, "num_units": 8, "num_hits": hits, "num_encoded": encoded}
    value = {"cache": cache, "seconds": {"encode": 1.0 if encoded else 0.0}}
    error = {"type": "MissingMedia", "message": "no file"}
    is_ok = status == "ok"
    return {
        "item": item,
        "status": status,
        "value": value if is_ok else None,
        "error": None if is_ok else error,
    }


CACHE = {
    "num_units": 0,
    "num_hits": 0,
    "num_encoded": 0,
    "num_frames_decoded": 0,
    "bytes_read": 0,
    "bytes_written": 0,
}


def test_precompute_over_a_restart_counts_what_was_encoded_before_and_after() -> None:
    first = [precompute_line("a", encoded=8), precompute_line("b", "failed")]
    again = [precompute_line("a", hits=8), precompute_line("b", encoded=6, hits=2)]
    summary = summarize_precompute([*first, *again])
    assert summary["num_media"] == 2
    assert summary["num_encoded"] == 14
    # The hit rate is that of the first look: what the run found, not what it put there itself.
    assert summary["hit_rate"] == pytest.approx(2 / 16)
    assert summary["seconds"]["encode"] == pytest.approx(2.0)
    assert summary["errors"] == []


def test_a_media_that_still_fails_is_reported() -> None:
    summary = summarize_precompute([precompute_line("b", "failed")])
    assert summary["errors"] == [{"media": "b", "type": "MissingMedia", "message": "no file"}]


def whole_summary(
    records: list[Record], uncached: list[Record], benchmarks: Mapping[str, Benchmark] = {}
) -> Summary:
    config = {
        "model": {"path": "demo", "dtype": "float32", "attention": "sdpa"},
        "frames": {"policy": "uniform_inclusive", "num_frames": 8},
        "vision": {"tap": "tower"},
    }
    run = {"identity": {"checkpoint files": "c" * 64}, "fingerprint": "f" * 64, "config": config}
    return {
        "run": {**run, "versions": {"torch": "2.13.0"}},
        "precompute": summarize_precompute([precompute_line("a", encoded=8)]),
        "evaluation": summarize_evaluation(records, benchmarks),
        "variants": summarize_variants(records, [BASELINE], benchmarks),
        "uncached": summarize_evaluation(uncached),
        "comparison": compare_answers(records, uncached),
        "judged": [],
    }


def test_the_report_says_what_was_hit_what_it_cost_and_that_answers_agree() -> None:
    records = [record("a1", 1.0, cache=CacheUse(num_units=8, num_hits=8)), record("a2", 1.0)]
    slower = [replace(item, seconds={"prefill": 2.0}) for item in records]
    summary = whole_summary(records, slower)
    page = to_markdown("run", sections(summary))
    assert "| evaluate | 8 | 100 % |" in page
    assert "4.0 times less worker time" in page
    assert "Cached and uncached answers identical: 2 of 2" in page
    assert any("hit rate 0 %, 8 units encoded" in line for line in headline(summary))
    assert problems(summary) == []


def test_the_report_names_errors_with_their_samples() -> None:
    records = [record("a1", 1.0), record("b1", None, text=None, error=BROKEN)]
    summary = whole_summary(records, [])
    page = to_markdown("run", sections(summary))
    assert "UndecodableMedia: clip.mp4 is truncated (1 sample: b/b1)" in page
    assert problems(summary) == ["1 of 2 samples have no answer"]


def test_a_run_in_which_everything_failed_still_has_a_report() -> None:
    records = [record("a1", None, text=None, error=BROKEN)]
    summary = whole_summary(records, [])
    assert "UndecodableMedia" in to_markdown("run", sections(summary))
    assert problems(summary) == ["1 of 1 samples have no answer"]
