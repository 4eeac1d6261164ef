"""Forest plots of a run's result: differences between variants, or the parts of one score."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from encodeonce.harness.report.cells import benchmarks_in, cells_of, variant_named
from encodeonce.harness.report.charts.forest import Difference, Group, grouped_forest
from encodeonce.harness.report.charts.svg import Axis
from encodeonce.harness.report.figures.curves import curves
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.section import Figure
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.variant import Variant

MOST_ROWS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Rows of means with their intervals before they are drawn, on a page or for print."""

    title: str
    words: str
    """The caption."""
    groups: tuple[Group, ...]
    x: Axis
    at: float | None
    """Where a vertical line is drawn."""
    sign: str
    """Of numbers, as in a format."""
    file: str
    """Words for its file name."""

    def figure(self) -> Figure:
        """Draw it as SVG."""
        drawn = grouped_forest(self.groups, x=self.x, title=self.title, at=self.at, sign=self.sign)
        return Figure(title=self.title, svg=drawn, words=self.words, file=self.file)


def differences(summary: Summary, benchmark: str) -> Forest | None:
    """Return every variant's paired difference to the reference; None where nothing is scored."""
    names, cells = Names.of(summary), cells_of(summary, benchmark)
    reference = variant_named(summary, summary["variants"]["reference"])
    found = {
        variant: difference
        for variant, cell in cells.items()
        if (difference := cell["against"].get(reference.name)) is not None
    }
    if not found:
        return None
    shown = dict(list(found.items())[:MOST_ROWS])
    left_out = f" The first {len(shown)} variants of {len(found)}." if shown != found else ""
    to = names.variant(reference)
    return Forest(
        title=f"{benchmark}: difference to {to}",
        words=f"In points of {cells[next(iter(found))]['measure']}, paired sample by sample, with "
        f"clustered 95 % intervals. Chance alone may make an interval that holds 0.{left_out}",
        groups=(groups := tuple(_grouped(shown, names))),
        x=_axis(f"difference to {to}, points", groups, 0.0),
        at=0.0,
        sign="+",
        # By what stays: a better display name must not leave the old file behind.
        file=f"{benchmark}: differences",
    )


def _grouped(found: Mapping[Variant, Summary], names: Names) -> Iterable[Group]:
    """Yield the variants by weights and adapter, and by when they compress, in their order."""
    with_model = len({variant.model for variant in found}) > 1
    groups: dict[str, list[Difference]] = {}
    for variant, difference in found.items():
        row = _row(names.parts(variant)[0], difference)
        groups.setdefault(names.heading(variant, with_model), []).append(row)
    for heading, rows in groups.items():
        yield Group(heading=heading, rows=tuple(rows))


def scores(summary: Summary) -> Forest | None:
    """Return the scores of a run of one variant, by benchmark and tag; None if there is but one."""
    groups = []
    found = summary["evaluation"]["benchmarks"]
    for name, result in found.items():
        parts = {tag: part["accuracy"] for tag, part in result["by_tag"].items()}
        rows = {"all": result["accuracy"], **parts}
        drawn = [_row(row, estimate) for row, estimate in rows.items() if estimate is not None]
        heading = f"{name}, {result['measure']}"
        groups.append(Group(heading=heading, rows=tuple(drawn[:MOST_ROWS])))
    groups = [group for group in groups if group.rows]
    if sum(len(group.rows) for group in groups) < 2:
        return None
    is_one = len(groups) == 1
    return Forest(
        title="Scores" if not is_one else f"{groups[0].heading.rpartition(', ')[0]}: scores by tag",
        words="Clustered 95 % intervals."
        + (" The line is at the score of all samples." if is_one else ""),
        groups=tuple(groups),
        x=_axis("score, %", groups),
        at=groups[0].rows[0].mean if is_one else None,
        sign="",
        file="scores",
    )


def _axis(title: str, groups: Iterable[Group], *more: float) -> Axis:
    """Return an axis that ends at the next multiples of five beyond all intervals."""
    ends = [end for group in groups for row in group.rows for end in (row.low, row.high)]
    low = 5 * math.floor(min(*ends, *more) / 5)
    return Axis(title=title, low=low, high=max(5 * math.ceil(max(*ends, *more) / 5), low + 5))


def _row(name: str, estimate: Summary) -> Difference:
    return Difference(
        name=name,
        mean=100 * estimate["mean"],
        low=100 * estimate["low"],
        high=100 * estimate["high"],
    )


def opening(summary: Summary) -> list[Figure]:
    """Return the figures that a run's page opens with: its result.

    With several variants these are, for each benchmark, the differences to the reference, and
    quality against bytes under the reference's weights; else the scores by tag.
    """
    variants = summary["variants"]
    if variants is None or summary["evaluation"] is None:
        return []
    if len(variants["variants"]) < 2:
        return [found.figure()] if (found := scores(summary)) is not None else []
    figures = []
    for benchmark in benchmarks_in(summary):
        if (forest := differences(summary, benchmark)) is not None:
            figures.append(forest.figure())
        figures += [chart.figure() for chart in list(curves(summary, benchmark))[:1]]
    return figures
