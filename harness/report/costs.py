"""The report's sections on what variants cost: memory and time."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from encodeonce.harness.report.cells import variants_in
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.numbers import human_bytes, human_count, number, percent
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.results.shared_time import OWN_STAGES
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.variant import Variant

Stages = Mapping[str, float]
"""Milliseconds by stage."""


def weights_section(summary: Summary) -> Section:
    """Report each weight variant's memory and speed."""
    names = Names.of(summary)
    rows = []
    for title, one in summary["variants"]["weights"].items():
        rows.append(
            (
                names.weights(title),
                "-" if one["weight_bytes"] is None else human_bytes(one["weight_bytes"]),
                human_bytes(one["peak_bytes"]),
                str(one["num_loads"]),
                number(one["load_s"], ".1f"),
                number(one["prefill_tokens_per_s"], ".0f"),
                number(one["decode_tokens_per_s"], ".0f"),
            )
        )
    columns = (
        "weights",
        "in memory",
        "peak",
        "loads",
        "s per load",
        "prompt tokens/s",
        "decoded tokens/s",
    )
    return Section(
        title="Weights",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            "'in memory': the language side as loaded. 'peak': the most memory a worker used from "
            "the start of loading on, everything included. In prompt tokens/s, a shared prefix "
            "counts once for each question.",
        ),
    )


def time_section(summary: Summary) -> Section:
    """Separate the stages shared by all caches of the weights from those that each runs alone."""
    names, weights = Names.of(summary), summary["variants"]["weights"]
    known = dict.fromkeys(s for one in weights.values() for s in one["seconds"])
    shared_stages = dict.fromkeys(s for one in weights.values() for s in one["shared_stages"])
    own_stages = [s for s in OWN_STAGES if s in known and s not in shared_stages]
    stages = [*shared_stages, *own_stages]
    rows: list[tuple[str, ...]] = []
    sentences = [
        "Milliseconds of worker time per question, model loading excluded. Compressed caches are "
        "decoded as one batch, and its time is divided evenly among them."
    ]
    for title, one in weights.items():
        caches = {
            variant: own_seconds(about, one["shared_stages"])
            for variant, about in variants_in(summary).items()
            if variant.weights == title
        }
        per_ms = 1000 / max(1, one["num_questions"])
        shared = {s: per_ms * v for s, v in one["seconds"].items() if s in one["shared_stages"]}
        own = {v: {s: per_ms * x for s, x in some.items()} for v, some in caches.items()}
        rows += _time_rows(names.weights(title), shared, own, stages)
        sentences += _saving(names.weights(title), shared, own)
    sentences += _break_even(summary)
    return Section(
        title="Time by variant",
        table=Table(columns=("variants", *stages, "all"), rows=tuple(rows)),
        sentences=tuple(sentences),
    )


_SLOWER_UNMERGED = ("prefill", "generate", "score", "compare")
"""Stages in which adapters beside the weights are computed with every pass."""


def _break_even(summary: Summary) -> Iterator[str]:
    """Say from which overhead on merging has paid: the seconds of merging, over the passes'.

    An adapter of q batches of t seconds is worth merging where q t λ is more than the seconds c
    that merging takes, with λ what it adds to a pass beside the weights. c and q t are the run's
    own; λ is not known from a run that merges.
    """
    if summary["run"].get("config", {}).get("adapter_mode") != "merged":
        return
    merge_s = pass_s = 0.0
    for variant, about in variants_in(summary).items():
        for cell in about["benchmarks"].values():
            merge_s += cell["seconds"].get("merge", 0.0) * (variant.adapter is not None)
            some = (cell["seconds"].get(stage, 0.0) for stage in _SLOWER_UNMERGED)
            pass_s += sum(some) * (variant.adapter is not None)
    if merge_s and pass_s:
        yield (
            f"Adding adapters to the weights took {merge_s:.3g} s, and reading and answering with "
            f"them {pass_s:.3g} s: beside the weights these would have had to be "
            f"{percent(merge_s / pass_s, 1)} slower for merging to pay. How much slower they are, "
            "a run that merges does not know: `encodeonce bench adapters` measures it."
        )


def own_seconds(variant: Summary, shared_stages: Collection[str]) -> dict[str, float]:
    """Return a variant's seconds by stage, without the work that it shares."""
    found: dict[str, float] = {}
    for cell in variant["benchmarks"].values():
        for stage, value in cell["seconds"].items():
            if stage not in shared_stages:
                found[stage] = found.get(stage, 0.0) + value
    return found


def _time_rows(
    title: str, shared: Stages, own: Mapping[Variant, Stages], stages: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    compressed = [one for variant, one in own.items() if not variant.is_full]
    yield _time_row(f"{title}: shared by {human_count(len(own), 'cache')}", shared, stages)
    for variant, one in own.items():
        if variant.is_full:
            of = "" if variant.adapter is None else f", {variant.adapter}"
            yield _time_row(f"  full cache{of}", one, stages)
    if compressed:
        names = dict.fromkeys(stage for one in compressed for stage in one)
        mean = {s: sum(one.get(s, 0.0) for one in compressed) / len(compressed) for s in names}
        yield _time_row(f"  each of {len(compressed)} compressed", mean, stages)


def _time_row(name: str, spent: Stages, stages: Sequence[str]) -> tuple[str, ...]:
    cells = (number(spent.get(stage), ".1f") for stage in stages)
    return (name, *cells, f"{sum(spent.values()):.1f}")


def _saving(title: str, shared: Stages, own: Mapping[Variant, Stages]) -> list[str]:
    # A prefix is an adapter's own: its prefill is shared by that adapter's caches alone.
    if len(own) < 2 or any(variant.adapter is not None for variant in own):
        return []
    once, each = sum(shared.values()), sum(sum(one.values()) for one in own.values())
    return [
        f"{title}: a question under all {len(own)} caches took {once + each:.0f} ms; with a "
        f"read and a prefill for each cache, it would take {len(own) * once + each:.0f} ms."
    ]
