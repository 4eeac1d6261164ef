"""The matrix of a run, {benchmarks} × {weight variants} × {cache variants}, as plain JSON values.

`summarize_variants` returns, under keys that reports rely on::

    reference   the variant that all others are compared with: none/full, or the run's first
    variants    by name, in the run file's order:
        weights, kv     titles of two of its parts
        adapter         title of the third; None for the base
        benchmarks      by name; empty if nothing was asked yet:
            ...                 all of `summary.scores`: accuracy, nll, figures, by_tag, grid, ...
            num_answered        samples without an error
            against             by name of another variant, the `PairedDifference` to it: to
                                ``reference``, to the same weights and cache without the
                                adapter, and to the same weights' and adapter's full cache
            fidelity            `summarize_fidelity`, to the variant ``fidelity_to``
            fidelity_to         the same weights' and adapter's full cache; for that, the base's of
                                the same weights, or ``reference``; for ``reference``, None
            kv                  `summarize_cache_size`; None for a full cache
            seconds             by stage, as booked: a stage that several variants share stands
                                with the first of them alone (``shared_stages`` tells which they
                                are), so do not compare these between variants; the time of a
                                joint batch is divided evenly
            num_generated_tokens
            decode_tokens_per_s tokens after the first per second of ``generate``, of the answers
                                that were decoded together: those of a full cache, or those of all
                                compressed caches of the same weights; None if there are none
    weights     by title:
        num_loads, load_s       times a worker loaded it, and the mean seconds that took; None if
                                no record tells, as for the next two
        bytes_by_part           `LoadedWeights.bytes_by_part`
        weight_bytes            all parts together
        kernels                 `LoadedWeights.kernels`: by what is attended to, the names of what
                                attended to it, sorted; workers may differ
        peak_bytes              most memory a worker used from the start of loading on
        num_questions           samples answered under at least one cache variant
        num_answers, seconds    over all its cache variants
        shared_stages           those of ``seconds`` that serve all its cache variants
        prefill_tokens_per_s    tokens of all questions' prompts, each counted whole and once, per
                                second of ``prefill``
        decode_tokens_per_s     over all its cache variants
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

from encodeonce.datasets.sample import Benchmark
from encodeonce.harness.results.fidelity import summarize_fidelity
from encodeonce.harness.results.kv_bytes import summarize_cache_size
from encodeonce.harness.results.paired import holm, paired_difference
from encodeonce.harness.results.shared_time import answering_seconds, own_stages
from encodeonce.harness.results.summary import Summary, scores
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.variant import BASELINE, Variant

BySample = Mapping[tuple[str, str], Record]
"""Records of one variant by benchmark and sample."""


FEWEST_CORRECTED = 3
"""Adapters compared with one base from which p-values are corrected for their number."""


def reference_variant(variants: Sequence[Variant]) -> Variant:
    """Return the variant that others are compared with: the baseline, or else the first."""
    return BASELINE if BASELINE in variants or not variants else variants[0]


def summarize_variants(
    records: Sequence[Record],
    variants: Sequence[Variant],
    benchmarks: Mapping[str, Benchmark] = {},
) -> Summary:
    """Add up the records of every variant, and compare them; see the top of this file.

    Args:
        records: of all variants.
        variants: in the order wanted.
        benchmarks: by their names in records.
    """
    by_name = {variant.name: variant for variant in variants}
    by_variant: dict[Variant, dict[tuple[str, str], Record]] = {one: {} for one in variants}
    by_weights: dict[str, list[Record]] = {one.weights: [] for one in variants}
    for record in records:
        variant = by_name[record.variant]
        by_variant[variant][record.benchmark, record.sample] = record
        by_weights[variant.weights].append(record)
    reference = reference_variant(variants)
    found: Summary = {
        "reference": reference.name,
        "variants": {
            variant.name: {
                "weights": variant.weights,
                "adapter": variant.adapter,
                "kv": variant.kv,
                "benchmarks": {
                    benchmark: _cell(
                        variant, benchmark, by_variant, reference, benchmarks.get(benchmark)
                    )
                    for benchmark in dict.fromkeys(name for name, _ in by_variant[variant])
                },
            }
            for variant in variants
        },
        "weights": {title: _weights(some) for title, some in by_weights.items()},
    }
    _correct(found["variants"], variants)
    return found


def _correct(summaries: Summary, variants: Sequence[Variant]) -> None:
    """Add Holm's p to what adapters change, where several are compared with the same base.

    With one adapter there is nothing to correct, and two are little: `FEWEST_CORRECTED`.
    """
    families: dict[tuple[Variant, str], list[Summary]] = {}
    for variant in variants:
        if variant.adapter is None:
            continue
        bare = replace(variant, adapter=None)
        for benchmark, cell in summaries[variant.name]["benchmarks"].items():
            if (difference := cell["against"].get(bare.name)) is not None:
                families.setdefault((bare, benchmark), []).append(difference)
    for family in families.values():
        if len(family) >= FEWEST_CORRECTED:
            corrected = holm([difference["mcnemar_p"] for difference in family])
            for difference, p in zip(family, corrected, strict=True):
                difference["mcnemar_p_holm"] = p


def _cell(
    variant: Variant,
    benchmark: str,
    by_variant: Mapping[Variant, BySample],
    reference: Variant,
    about: Benchmark | None,
) -> Summary:
    records = _of(by_variant[variant], benchmark)
    bare = replace(variant, adapter=None)  # what the adapter has changed
    others = [one for one in dict.fromkeys((reference, bare, variant.own_full)) if one != variant]
    closest = others[-1] if others else None
    return {
        **scores(records, about),
        "num_answered": sum(record.error is None for record in records),
        "against": {
            other.name: difference
            for other in others
            if (difference := _difference(records, by_variant.get(other, {}))) is not None
        },
        "fidelity_to": closest.name if closest else None,
        "fidelity": summarize_fidelity(records, by_variant.get(closest, {}) if closest else {}),
        "kv": summarize_cache_size(records),
        "seconds": answering_seconds(records),
        "num_generated_tokens": sum(record.num_generated_tokens for record in records),
        "decode_tokens_per_s": _decode_rate(_decoded_with(variant, benchmark, by_variant)),
    }


def _decoded_with(
    variant: Variant, benchmark: str, by_variant: Mapping[Variant, BySample]
) -> list[Record]:
    """Return the answers that were decoded in the same batches as a variant's."""
    return [
        record
        for other, records in by_variant.items()
        if (other.weights, other.is_full) == (variant.weights, variant.is_full)
        for record in _of(records, benchmark)
    ]


def _of(records: BySample, benchmark: str) -> list[Record]:
    return [record for (name, _), record in records.items() if name == benchmark]


def _difference(records: Iterable[Record], others: BySample) -> Summary | None:
    """Return the paired difference of records to another variant's on the same samples."""
    first, second, clusters = [], [], []
    for record in records:
        other = others.get((record.benchmark, record.sample))
        if other is not None and record.score is not None and other.score is not None:
            first.append(other.score)
            second.append(record.score)
            clusters.append(record.group)
    difference = paired_difference(first, second, clusters)
    return asdict(difference) if difference is not None else None


def _weights(records: Sequence[Record]) -> Summary:
    loads = [record.loaded for record in records if record.loaded is not None]
    seconds = answering_seconds(records)
    own = {stage for stages in own_stages(records).values() for stage in stages}
    prompts = {(r.benchmark, r.sample): r.num_prompt_tokens for r in records if r.error is None}
    return {
        "num_loads": len(loads),
        "load_s": sum(loaded.load_s for loaded in loads) / len(loads) if loads else None,
        "bytes_by_part": dict(loads[0].bytes_by_part) if loads else None,
        "weight_bytes": loads[0].num_bytes if loads else None,
        "kernels": {
            part: sorted({loaded.kernels[part] for loaded in loads if part in loaded.kernels})
            for part in dict.fromkeys(part for loaded in loads for part in loaded.kernels)
        },
        "peak_bytes": max((record.peak_bytes for record in records), default=0),
        "num_questions": len(prompts),
        "num_answers": sum(record.error is None for record in records),
        "seconds": seconds,
        "shared_stages": [stage for stage in seconds if stage not in own],
        "prefill_tokens_per_s": _rate(sum(prompts.values()), seconds.get("prefill")),
        "decode_tokens_per_s": _decode_rate(records),
    }


def _decode_rate(records: Sequence[Record]) -> float | None:
    """Return tokens a second; an answer's first token comes from the prefill."""
    count = sum(max(0, record.num_generated_tokens - 1) for record in records)
    return _rate(count, answering_seconds(records).get("generate"))


def _rate(count: int, seconds: float | None) -> float | None:
    return count / seconds if count and seconds else None
