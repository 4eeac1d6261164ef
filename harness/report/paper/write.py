"""Writes a run's figures and tables for papers into a folder of their own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from encodeonce.cache_store import durable
from encodeonce.harness.report.cells import benchmarks_in
from encodeonce.harness.report.figures.curves import Chart, curves, speed_chart
from encodeonce.harness.report.figures.differences import Forest, differences, scores
from encodeonce.harness.report.paper.latex import latex, tables
from encodeonce.harness.report.paper.plots import (
    FileFormat,
    draw_chart,
    draw_forest,
    require_matplotlib,
)
from encodeonce.harness.report.section import file_name
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.output_error import writing

FOLDER = "paper"
"""In a run's folder."""


def write_paper(
    folder: Path, summary: Summary, formats: Sequence[FileFormat], with_tables: bool
) -> list[Path]:
    """Write figures in every format, and tables in LaTeX; return the files.

    Args:
        folder: the run's.
        summary: from `summarize_run`.
        formats: of figures; none without.
        with_tables: write the tables.

    Raises:
        NoMatplotlib: figures are asked for, and matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    if formats:
        require_matplotlib()
    target = folder / FOLDER
    with writing(target):
        target.mkdir(exist_ok=True)
    written = []
    for kind in dict.fromkeys(formats):
        for drawn in figures(summary):
            if isinstance(drawn, Forest):
                content = draw_forest(drawn, kind)
            else:
                content = draw_chart(drawn, kind)
            path = target / file_name(drawn.file or drawn.title, kind)
            written.append(_write(path, content))
    for table in tables(summary) if with_tables else ():
        path = target / file_name(table.name, "tex")
        written.append(_write(path, latex(table).encode("utf-8")))
    return written


def figures(summary: Summary) -> Iterator[Forest | Chart]:
    """Yield what a paper shows of a run: its result, not where the time went."""
    variants = summary["variants"]
    if summary["evaluation"] is None or variants is None:
        return
    if (found := scores(summary)) is not None:
        yield found
    if len(variants["variants"]) < 2:
        return
    for benchmark in benchmarks_in(summary):
        if (forest := differences(summary, benchmark)) is not None:
            yield forest
        yield from curves(summary, benchmark)
        if (speed := speed_chart(summary, benchmark)) is not None:
            yield speed


def _write(path: Path, content: bytes) -> Path:
    with writing(path):
        durable.replace(content, path, path.parent)
    return path
