"""Sections and figures of benchmarks that are read by two tags at once, such as `needle`."""

from collections.abc import Iterator

from encodeonce.harness.report.cells import Cells, benchmarks_in, cells_of, variants_in
from encodeonce.harness.report.charts.plots import heat_map
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.numbers import percent
from encodeonce.harness.report.section import Figure, Section, Table
from encodeonce.harness.results.summary import Summary


def grid_sections(summary: Summary) -> list[Section]:
    """Return a section for each benchmark that has a grid: all variants in a table, and figures."""
    found = []
    for benchmark in benchmarks_in(summary):
        if cells := _gridded(summary, benchmark):
            found.append(_section(summary, benchmark, cells))
    return found


def grid_figures(summary: Summary, benchmark: str) -> Iterator[Figure]:
    """Yield a heat map for each variant. All have the same shades: 0 % is light, 100 % dark."""
    names = Names.of(summary)
    is_one = len(variants_in(summary)) == 1
    for variant, cell in _gridded(summary, benchmark).items():
        grid = cell["grid"]
        what = f"{grid['row_tag']} and {grid['column_tag']}"
        title = f"{benchmark}: {what}"
        if not is_one:
            title = f"{benchmark}, {names.variant(variant)}: {what}"
        means = [[_mean(one) for one in row] for row in grid["cells"]]
        yield Figure(
            title=title,
            svg=heat_map(
                grid["rows"],
                grid["columns"],
                means,
                [["-" if one is None else f"{100 * one:.0f}" for one in row] for row in means],
                title=title,
                ends=(0.0, 1.0),
            ),
            words=f"{cell['measure'].capitalize()}, %. Rows are {grid['row_tag']}, columns "
            f"{grid['column_tag']}.",
            # By ids, as all files: a better display name must not leave the old file behind.
            file=title if is_one else f"{benchmark}, {variant.name}: {what}",
        )


def _gridded(summary: Summary, benchmark: str) -> Cells:
    """Return the cells that have a grid in which something was scored."""
    return {
        variant: cell
        for variant, cell in cells_of(summary, benchmark).items()
        if cell.get("grid") and cell["accuracy"] is not None
    }


def _section(summary: Summary, benchmark: str, cells: Cells) -> Section:
    names = Names.of(summary)
    first = next(iter(cells.values()))
    row_tag, column_tag = first["grid"]["row_tag"], first["grid"]["column_tag"]
    columns = list(dict.fromkeys(c for cell in cells.values() for c in cell["grid"]["columns"]))
    rows = []
    for variant, cell in cells.items():
        grid = cell["grid"]
        for value, line in zip(grid["rows"], grid["cells"], strict=True):
            by_column = dict(zip(grid["columns"], line, strict=True))
            shown = (_percent(_mean(by_column.get(column))) for column in columns)
            rows.append((names.variant(variant), variant.name, value, *shown))
    # A run of one variant needs no columns that name it.
    skipped = 0 if len(variants_in(summary)) > 1 else 2
    heads = ("variant", "id", row_tag, *(f"{column} {column_tag}" for column in columns))
    shown_heads = heads[skipped:]
    narrow = () if skipped else tuple(range(1, len(heads)))
    return Section(
        title=f"{benchmark} by {row_tag} and {column_tag}",
        table=Table(
            columns=shown_heads,
            rows=tuple(row[skipped:] for row in rows),
            num_words=3 - skipped,
            narrow=narrow,
        ),
        figures=tuple(grid_figures(summary, benchmark)),
        sentences=(
            f"{first['measure'].capitalize()}, %, mean over the scored answers of each cell; a "
            f"dash where there is none. Number of them in a cell: {_counted(cells)}. Few answers "
            f"tell neighbouring cells apart only where they differ by much.",
        ),
    )


def _counted(cells: Cells) -> str:
    """Return how many answers a cell has: ``"4"`` or ``"3 to 4"``."""
    counts = {
        estimate["num_scored"]
        for cell in cells.values()
        for line in cell["grid"]["cells"]
        for estimate in line
        if estimate is not None
    }
    least, most = min(counts), max(counts)
    return str(most) if least == most else f"{least} to {most}"


def _mean(estimate: Summary | None) -> float | None:
    if estimate is None or estimate["accuracy"] is None:
        return None
    return float(estimate["accuracy"]["mean"])


def _percent(mean: float | None) -> str:
    return percent(mean, 1).removesuffix(" %")
