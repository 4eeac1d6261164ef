"""Adds up a judge's verdicts into plain JSON values. A mean always says how many it is of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from encodeonce.datasets.rubric import Judgeable, Judged, Verdict
from encodeonce.datasets.sample import Benchmark
from encodeonce.harness.results.facets import estimate
from encodeonce.harness.results.judged_pairs import judged_differences
from encodeonce.harness.run.after.verdict import JudgeIdentity, Standing, VerdictRecord, standing
from encodeonce.harness.run.record import Record


def summarize_verdicts(
    verdicts: Sequence[VerdictRecord],
    records: Sequence[Record],
    benchmarks: Mapping[str, Benchmark],
    reference: str,
) -> list[dict[str, Any]]:
    """Return what each judge says of each benchmark under each variant; the latest judge first.

    Args:
        verdicts: all lines of a run's folder.
        records: of the run.
        benchmarks: by their names in records.
        reference: the variant that the others are compared with.
    """
    kept = standing(verdicts, records)
    judges = {one.judge.sha256: one.judge for one in reversed(verdicts)}
    parts = dict.fromkeys((record.benchmark, record.variant) for record in records)
    found = []
    for digest, judge in judges.items():
        mine = {key: one for key, one in kept.items() if key[0] == digest}
        paid = [one for one in verdicts if one.judge.sha256 == digest and not one.is_replayed]
        for name, variant in parts:
            benchmark = benchmarks.get(name)
            answers = [r for r in records if (r.benchmark, r.variant) == (name, variant)]
            given = [(record, kept.get((digest, record.key))) for record in answers]
            if isinstance(benchmark, Judgeable) and any(one is not None for _, one in given):
                found.append(
                    {
                        "benchmark": name,
                        "variant": variant,
                        "judge": _described(judge),
                        "measure": benchmark.judged_measure,
                        **_part(benchmark, given),
                        "difference": _difference(records, answers, mine, reference),
                        **_tokens([one for one in paid if one.key[::2] == (name, variant)]),
                    }
                )
    return found


def _difference(
    records: Sequence[Record], answers: Sequence[Record], verdicts: Standing, reference: str
) -> dict[str, Any] | None:
    """Return the paired difference to another variant's answers; None for its own."""
    if not answers or answers[0].variant == reference:
        return None
    others = {
        r.sample: r
        for r in records
        if (r.benchmark, r.variant) == (answers[0].benchmark, reference)
    }
    pairs = [(others[one.sample], one) for one in answers if one.sample in others]
    found = judged_differences(pairs, verdicts, verdicts)
    return found[0]["difference"] if found else None


def _described(judge: JudgeIdentity) -> dict[str, Any]:
    return {
        "model": judge.model,
        "prompt_sha256": judge.rubric_sha256,
        "settings": dict(judge.settings),
        "sha256": judge.sha256,
    }


def _part(
    benchmark: Judgeable, given: Sequence[tuple[Record, VerdictRecord | None]]
) -> dict[str, Any]:
    answered = [(record, one) for record, one in given if record.text is not None]
    scored = [replace(record, score=None if one is None else one.value) for record, one in answered]
    judged = [
        Judged(
            sample=record.sample,
            group=record.group,
            tags=record.tags,
            verdict=Verdict(value=one.value, reference=one.reference),
        )
        for record, one in answered
        if one is not None and one.value is not None
    ]
    found = estimate(scored)
    return {
        "num_samples": len(given),
        "num_answers": len(answered),
        "num_judged": found["num_scored"],
        "mean": found["accuracy"],
        "figures": dict(benchmark.summarise_verdicts(judged)) if judged else {},
        "errors": _errors([one for _, one in answered if one is not None]),
    }


def _errors(verdicts: Sequence[VerdictRecord]) -> list[dict[str, Any]]:
    """Return reasons why answers have no verdict, each with the samples."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in verdicts:
        if one.error is not None:
            found.setdefault((one.error.type, one.error.message), []).append(one.sample)
    return [
        {"type": kind, "message": message, "samples": samples}
        for (kind, message), samples in found.items()
    ]


def _tokens(paid: Sequence[VerdictRecord]) -> dict[str, int]:
    return {
        "num_requests": len(paid),
        "input_tokens": sum(one.input_tokens for one in paid),
        "output_tokens": sum(one.output_tokens for one in paid),
    }
