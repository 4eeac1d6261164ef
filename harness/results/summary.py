"""Adds up a run's records and journals into plain JSON values, the source of every report."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from encodeonce.datasets.sample import Benchmark, Gridded, Scored, Summarising
from encodeonce.harness.results.facets import by_tag, estimate, grid
from encodeonce.harness.results.perplexity import summarize_nll
from encodeonce.harness.results.shared_time import answering_seconds, variant_times
from encodeonce.harness.run.record import CacheUse, Record
from encodeonce.harness.run.variant import BASELINE
from encodeonce.models.answer import largest_difference, sum_seconds

Summary = dict[str, Any]


def summarize_precompute(outcomes: Sequence[Mapping[str, Any]]) -> Summary:
    """Add up precompute's journal: one outcome per media file and attempt at the run.

    Work is summed over all attempts. The hit rate is that of the first look-up of each media item:
    what the run found in the store, not what it had put there before it was interrupted.
    """
    latest = {outcome["item"]: outcome for outcome in outcomes}
    done = [outcome for outcome in outcomes if outcome["status"] == "ok"]
    first = {outcome["item"]: outcome["value"] for outcome in reversed(done)}
    found = _cache(CacheUse(**value["cache"]) for value in first.values())
    work = _cache(CacheUse(**outcome["value"]["cache"]) for outcome in done)
    looked_up = {name: found[name] for name in ("num_units", "num_hits", "hit_rate")}
    return {
        "num_media": len(latest),
        "decoders": dict(
            Counter(name for value in first.values() if (name := value.get("decoder")) is not None)
        ),
        **work,
        **looked_up,
        "seconds": sum_seconds(outcome["value"]["seconds"] for outcome in done),
        "errors": [
            {
                "media": outcome["item"],
                "type": outcome["error"]["type"],
                "message": outcome["error"]["message"],
            }
            for outcome in latest.values()
            if outcome["status"] != "ok"
        ],
    }


def summarize_evaluation(
    records: Sequence[Record],
    benchmarks: Mapping[str, Benchmark] = {},
    variant: str = BASELINE.name,
) -> Summary:
    """Add up the records of one way of answering.

    Args:
        records: of all variants.
        benchmarks: by their names in records.
        variant: name of the variant whose scores and times of an answer are given;
            `summarize_variants` gives all of them. Work that it shares counts in full.
    """
    failed = [record for record in records if record.error is not None]
    num_answered = len(records) - len(failed)
    time = variant_times(records).get(variant)
    per_answer = time.per_answer if time is not None else {}
    shown = [record for record in records if record.variant == variant]
    names = dict.fromkeys(record.benchmark for record in shown)
    return {
        "variant": variant,
        "num_samples": len(records),
        "num_answered": num_answered,
        "answered_at": _answered_at(records),
        "num_visual_units": sum(record.num_visual_units for record in records),
        "num_prompt_tokens": sum(record.num_prompt_tokens for record in records),
        "num_cached_tokens": sum(record.num_cached_tokens for record in records),
        "num_generated_tokens": sum(record.num_generated_tokens for record in records),
        **_cache(record.cache for record in records),
        "seconds": answering_seconds(records),
        "stage_seconds_per_answer": per_answer,
        "seconds_per_answer": sum(per_answer.values()) if per_answer else None,
        "peak_bytes": max((record.peak_bytes for record in records), default=0),
        "errors": _errors(failed),
        "benchmarks": {
            name: scores(
                [record for record in shown if record.benchmark == name], benchmarks.get(name)
            )
            for name in names
        },
    }


def _answered_at(records: Sequence[Record]) -> tuple[str, str] | None:
    """Return when the first and the last answer was given, UTC, ISO 8601; None if unknown."""
    times = [r.finished_at for r in records if r.error is None and r.finished_at is not None]
    return (min(times), max(times)) if times else None


def compare_answers(cached: Sequence[Record], uncached: Sequence[Record]) -> Summary:
    """Compare answers from stored features with plain transformers' on the same samples."""
    by_key = {record.key: record for record in cached if record.error is None}
    pairs = [
        (by_key[record.key], record)
        for record in uncached
        if record.error is None
        and record.key in by_key
        and record.is_about_files_of(by_key[record.key])
    ]
    answered = [(ours, plain) for ours, plain in pairs if plain.text is not None]
    generated = [(ours, plain) for ours, plain in pairs if plain.logits_sha256 is not None]
    return {
        "num_compared": len(pairs),
        "num_with_text": len(answered),
        "num_same_text": sum(ours.text == plain.text for ours, plain in answered),
        "num_generated": len(generated),
        "num_same_logits": sum(
            ours.logits_sha256 == plain.logits_sha256 for ours, plain in generated
        ),
        "largest_logit_difference": max(
            (
                largest_difference(ours.first_logits, plain.first_logits)
                for ours, plain in generated
                if ours.first_logits and plain.first_logits
            ),
            default=None,
        ),
        "largest_log_prob_difference": max(
            (
                abs(ours.log_probs[name] - plain.log_probs[name])
                for ours, plain in pairs
                for name in plain.log_probs
            ),
            default=None,
        ),
        "different": [
            {
                "benchmark": ours.benchmark,
                "sample": ours.sample,
                "cached": ours.text,
                "uncached": plain.text,
            }
            for ours, plain in answered
            if ours.text != plain.text
        ],
    }


def _cache(uses: Iterable[CacheUse]) -> Summary:
    total = sum(uses, CacheUse())
    rate = total.num_hits / total.num_units if total.num_units else None
    return {**asdict(total), "hit_rate": rate}


def _errors(failed: Sequence[Record]) -> list[Summary]:
    """Return errors grouped by type and message, with the samples affected."""
    groups: dict[tuple[str, str], list[str]] = {}
    for record in failed:
        assert record.error is not None
        key = (record.error.type, record.error.message)
        under = "" if record.variant == BASELINE.name else f" under {record.variant}"
        groups.setdefault(key, []).append(f"{record.benchmark}/{record.sample}{under}")
    return [
        {"type": kind, "message": message, "samples": samples}
        for (kind, message), samples in groups.items()
    ]


def scores(records: Sequence[Record], benchmark: Benchmark | None) -> Summary:
    """Return one benchmark's mean score, overall and by tags, and its own scores."""
    return {
        **estimate(records),
        **_own_scores(records, benchmark),
        "nll": summarize_nll(records),
        "by_tag": by_tag(records),
        "grid": grid(records, benchmark.grid) if isinstance(benchmark, Gridded) else None,
    }


def _own_scores(records: Sequence[Record], benchmark: Benchmark | None) -> Summary:
    """Return the name of the measure, and the scores that the benchmark itself defines."""
    if not isinstance(benchmark, Summarising):
        return {"measure": "accuracy", "figures": {}}
    scored = scored_answers(records)
    return {
        "measure": benchmark.measure,
        "figures": dict(benchmark.summarise(scored)) if scored else {},
    }


def scored_answers(records: Sequence[Record]) -> list[Scored]:
    """Return the scored answers in the form that benchmarks take."""
    return [
        Scored(
            sample=record.sample,
            group=record.group,
            tags=record.tags,
            question=record.question,
            target=record.target,
            text=record.text,
            value=record.score,
        )
        for record in records
        if record.score is not None and record.text is not None
    ]


def problems(summary: Summary) -> list[str]:
    """Return what went wrong, one sentence each; empty for a run that may exit with 0."""
    found = []
    for name, words in (("evaluation", ""), ("uncached", "uncached ")):
        stage = summary[name]
        if stage is not None and stage["num_answered"] < stage["num_samples"]:
            num_failed = stage["num_samples"] - stage["num_answered"]
            found.append(f"{num_failed} of {stage['num_samples']} {words}samples have no answer")
    found += _unjudged(summary)
    comparison = summary["comparison"]
    is_ours = summary["run"]["config"].get("engine", {"name": "transformers"})["name"] != "vllm"
    # vLLM's kernels are its own: that a few answers differ is reported, and is no failure.
    if comparison is not None and comparison["different"] and is_ours:
        num_different = len(comparison["different"])
        found.append(f"{num_different} cached answers differ from the uncached ones")
    if not found and summary["precompute"] is not None and summary["precompute"]["errors"]:
        precompute = summary["precompute"]
        found.append(f"{len(precompute['errors'])} of {precompute['num_media']} media failed")
    return found


def _unjudged(summary: Summary) -> list[str]:
    """Return how many answers the latest judge has said nothing of."""
    judge = summary["run"]["config"].get("judge")
    if not summary["judged"]:
        is_asked = judge is not None and summary["evaluation"] is not None
        return [f"no answer has a verdict of {judge['model']}"] if is_asked else []
    model = summary["judged"][0]["judge"]["model"]
    parts = [part for part in summary["judged"] if part["judge"]["model"] == model]
    missing = sum(part["num_answers"] - part["num_judged"] for part in parts)
    total = sum(part["num_answers"] for part in parts)
    return [f"{missing} of {total} answers have no verdict of {model}"] if missing else []
