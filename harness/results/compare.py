"""Compares two ways of answering the same questions: plain JSON values from their records.

``first`` and ``second`` are runs, or variants of runs. Differences are always second minus first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from encodeonce.harness.results.compare_fields import changed_fields
from encodeonce.harness.results.compare_time import compare_times
from encodeonce.harness.results.intervals import clustered_mean
from encodeonce.harness.results.judged_pairs import judged_differences
from encodeonce.harness.results.paired import paired_difference
from encodeonce.harness.results.perplexity import summarize_nll
from encodeonce.harness.results.shared_time import VariantTime, variant_times
from encodeonce.harness.results.summary import Summary, summarize_evaluation
from encodeonce.harness.run.after.verdict import Standing
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.scoring import REFERENCE


class CompareError(ValueError):
    """The two cannot be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a comparison."""

    name: str
    """As the user calls it, e.g. ``"results/my-run:none/snapkv@0.25"``."""
    run: Mapping[str, Any]
    """Content of run.json."""
    records: tuple[Record, ...]
    """Of all variants to be compared; one for each benchmark, sample and variant."""
    precompute: Summary | None
    """From `summarize_precompute`, if precompute was run."""
    others: tuple[Record, ...] = ()
    """Of the run's other variants, on which work may be booked that the compared ones share."""
    verdicts: Standing = field(default_factory=dict)
    """Of judges, about the run's answers."""

    @property
    def variants(self) -> list[str]:
        """Names of the variants, in the order of their first record."""
        return list(dict.fromkeys(record.variant for record in self.records))


def compare(first: Side, second: Side) -> Summary:
    """Return what changed, and its effect on answers, time and hit rates.

    Raises:
        CompareError: no sample was answered in both, or the questions of all that were differ.
    """
    pairs = _paired_variants(first, second)
    cells = [cell for pair in pairs for cell in _cells(first, second, pair)]
    _require_something_in_common(first, second, cells)
    evaluations = _evaluations(first, second, pairs)
    changed, unimportant = changed_fields(first.run, second.run, pairs)
    return {
        "first": _described(first),
        "second": _described(second),
        "changed": changed,
        "changed_without_effect_on_answers": unimportant,
        "variants_only_in_first": _left_over(first, [a for a, _ in pairs]),
        "variants_only_in_second": _left_over(second, [b for _, b in pairs]),
        "cells": cells,
        "stages": compare_times(*_times(first, second, pairs)),
        "hit_rates": {
            "precompute": [_hit_rate(side.precompute) for side in (first, second)],
            "evaluate": [_hit_rate(evaluation) for evaluation in evaluations],
        },
    }


def _paired_variants(first: Side, second: Side) -> list[tuple[str, str]]:
    """Pair single variants whatever their names; among several, those of the same name."""
    if len(first.variants) == len(second.variants) == 1:
        return [(first.variants[0], second.variants[0])]
    if common := [(name, name) for name in first.variants if name in second.variants]:
        return common
    raise CompareError(
        f"{first.name} has the variants {', '.join(first.variants)}; "
        f"{second.name} has {', '.join(second.variants)}: no name is in both. "
        "Choose one of each: FOLDER:VARIANT"
    )


def _left_over(side: Side, paired: Sequence[str]) -> list[str]:
    return [name for name in side.variants if name not in paired]


def _cells(first: Side, second: Side, pair: tuple[str, str]) -> Iterator[Summary]:
    """Yield the comparison of each benchmark that either has."""
    ours = [record for record in first.records if record.variant == pair[0]]
    theirs = [record for record in second.records if record.variant == pair[1]]
    for name in dict.fromkeys(record.benchmark for record in (*ours, *theirs)):
        yield {
            "benchmark": name,
            "first_variant": pair[0],
            "second_variant": pair[1],
            **_cell(
                _of_benchmark(ours, name),
                _of_benchmark(theirs, name),
                (first.verdicts, second.verdicts),
            ),
        }


def _of_benchmark(records: Sequence[Record], name: str) -> dict[str, Record]:
    return {record.sample: record for record in records if record.benchmark == name}


def _cell(
    first: Mapping[str, Record],
    second: Mapping[str, Record],
    verdicts: tuple[Standing, Standing],
) -> Summary:
    """Compare the samples of one benchmark, by their ids."""
    both = [(first[sample], second[sample]) for sample in first if sample in second]
    same = [pair for pair in both if _question(pair[0]) == _question(pair[1])]
    answered = [(a, b) for a, b in same if a.error is None and b.error is None]
    scored = [(a, b) for a, b in answered if a.score is not None and b.score is not None]
    texts = [(a, b) for a, b in answered if a.text is not None or b.text is not None]
    groups = [a.group for a, _ in scored]
    ours, theirs = [_score(a) for a, _ in scored], [_score(b) for _, b in scored]
    difference = paired_difference(ours, theirs, groups)
    means = [clustered_mean(scores, groups) for scores in (ours, theirs)]
    return {
        "num_in_both": len(both),
        "other_question": [a.sample for a, b in both if _question(a) != _question(b)],
        "only_in_first": [sample for sample in first if sample not in second],
        "only_in_second": [sample for sample in second if sample not in first],
        "num_errors": [sum(pair[side].error is not None for pair in same) for side in (0, 1)],
        "num_answered": len(answered),
        "num_with_text": len(texts),
        "num_same_text": sum(a.text == b.text for a, b in texts),
        "num_scored": len(scored),
        "scores": [asdict(mean) if mean else None for mean in means],
        "difference": asdict(difference) if difference else None,
        "judged": judged_differences(answered, *verdicts),
        "nll": _likelihoods(answered),
        "worse": [_flip(a, b) for a, b in scored if _score(b) < _score(a)],
        "better": [_flip(a, b) for a, b in scored if _score(b) > _score(a)],
    }


def _likelihoods(answered: Sequence[tuple[Record, Record]]) -> list[Summary] | None:
    """Return `summarize_nll` of each side, over samples whose reference text both measured."""
    both = [pair for pair in answered if all(REFERENCE in one.log_probs for one in pair)]
    found = [summarize_nll(side) for side in zip(*both, strict=True)]
    return [one for one in found if one is not None] or None


def _question(record: Record) -> tuple[str, str]:
    return (record.question, record.target)


def _score(record: Record) -> float:
    assert record.score is not None, "only scored samples are compared"
    return record.score


def _flip(first: Record, second: Record) -> Summary:
    return {
        "sample": first.sample,
        "question": first.question,
        "target": first.target,
        "choices": list(first.choices or second.choices),
        "texts": [first.text, second.text],
        "extracted": [first.extracted, second.extracted],
        "scores": [first.score, second.score],
    }


def _require_something_in_common(first: Side, second: Side, cells: Sequence[Summary]) -> None:
    if any(cell["num_answered"] for cell in cells):
        return
    num_both = sum(cell["num_in_both"] for cell in cells)
    num_other = sum(len(cell["other_question"]) for cell in cells)
    if num_other:
        raise CompareError(
            f"{num_other} of the {num_both} samples that {first.name} and {second.name} have in "
            "common have different questions under the same ids, and no other was answered in "
            "both: these are two versions of the data"
        )
    if num_both:
        raise CompareError(
            f"none of the {num_both} samples that {first.name} and {second.name} have in common "
            "was answered in both"
        )
    raise CompareError(
        f"{first.name} and {second.name} have no sample in common: "
        f"{_what_there_is(first)} and {_what_there_is(second)}"
    )


def _what_there_is(side: Side) -> str:
    names = dict.fromkeys(record.benchmark for record in side.records)
    counts = (f"{name} ({len(_of_benchmark(side.records, name))} samples)" for name in names)
    return ", ".join(counts)


def _evaluations(
    first: Side, second: Side, pairs: Sequence[tuple[str, str]]
) -> tuple[Summary, Summary]:
    """Add up the records of the benchmarks that both have, under the variants compared."""
    common = _common_benchmarks(first, second)
    kept = (
        [record for record in side.records if record.benchmark in common and record.variant in some]
        for side, some in zip((first, second), zip(*pairs, strict=True), strict=True)
    )
    a, b = (summarize_evaluation(records) for records in kept)
    return a, b


def _times(
    first: Side, second: Side, pairs: Sequence[tuple[str, str]]
) -> tuple[list[VariantTime], list[VariantTime]]:
    """Return the times of the variants compared, on the benchmarks that both sides have."""
    common = _common_benchmarks(first, second)
    a, b = (
        variant_times([one for one in (*side.records, *side.others) if one.benchmark in common])
        for side in (first, second)
    )
    return [a[name] for name, _ in pairs if name in a], [b[name] for _, name in pairs if name in b]


def _common_benchmarks(first: Side, second: Side) -> set[str]:
    names, others = ({record.benchmark for record in side.records} for side in (first, second))
    return names & others


def _hit_rate(stage: Summary | None) -> float | None:
    return None if stage is None else stage["hit_rate"]


def _described(side: Side) -> Summary:
    return {
        "name": side.name,
        "fingerprint": side.run["fingerprint"],
        "variants": side.variants,
        "num_records": len(side.records),
    }
