"""What a run's summary says of its variants, benchmark by benchmark."""

from collections.abc import Mapping

from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.variant import Variant

Cells = Mapping[Variant, Summary]
"""What `summarize_variants` says of one benchmark."""


def variants_in(summary: Summary) -> dict[Variant, Summary]:
    """Return the run's variants with all that the summary says of each."""
    variants = summary["variants"]["variants"]
    return {Variant(one["weights"], one["kv"]): one for one in variants.values()}


def benchmarks_in(summary: Summary) -> list[str]:
    """Return the benchmarks that were answered under any variant."""
    variants = summary["variants"]["variants"].values()
    return list(dict.fromkeys(name for one in variants for name in one["benchmarks"]))


def cells_of(summary: Summary, benchmark: str) -> dict[Variant, Summary]:
    """Return the cells of one benchmark."""
    return {
        variant: one["benchmarks"][benchmark]
        for variant, one in variants_in(summary).items()
        if benchmark in one["benchmarks"]
    }
