"""Reads the cells of a run's summary: one for each variant and benchmark."""

from collections.abc import Iterator, Mapping

from encodeonce.harness.report.names import Names
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.variant import Variant, adapters_in

Cells = Mapping[Variant, Summary]
"""The cells of one benchmark, by variant, as `summarize_variants` returns them."""


def variants_in(summary: Summary) -> dict[Variant, Summary]:
    """Return the run's variants, each with its part of the summary."""
    variants = summary["variants"]["variants"]
    return {
        Variant(one["weights"], one["kv"], one.get("adapter")): one for one in variants.values()
    }


def variant_named(summary: Summary, name: str) -> Variant:
    """Return the variant of an id."""
    return Variant.parse(name, adapters_in(summary["run"].get("variants", {})))


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


def made_with_the_base(summary: Summary, cells: Cells, names: Names) -> Iterator[str]:
    """Yield a sentence on caches under adapters that rest on a file: a profile, or trained nets."""
    meanings = summary["run"].get("variants", {}).get("kv", {})
    titles = dict.fromkeys(variant.kv for variant in cells if variant.adapter is not None)
    if found := [one for one in titles if meanings.get(one, {}).get("files")]:
        yield (
            "Made with the base, and used under adapters as it is: the profile or nets of "
            f"{', '.join(map(names.kv, found))}."
        )
