"""Writes a run's report: report.md, report.json, its figures and report.html."""

import gc
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encodeonce.cache_store import durable
from encodeonce.harness.report.charts.svg import svg_file
from encodeonce.harness.report.html import FIGURES, page_of, report_page
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.report.section import Figure, Section, file_of
from encodeonce.harness.report.summary import sections
from encodeonce.harness.report.thumbnails import previews
from encodeonce.harness.report.tiles import Tile
from encodeonce.harness.results.run_summary import (
    Results,
    read_results,
    summarize,
    write_official_files,
)
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.folder import RunFolder, media_sha256
from encodeonce.harness.run.output_error import OutputError, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """A report, and where its files are."""

    summary: Summary
    """From `summarize_run`: the content of report.json."""
    sections: tuple[Section, ...]
    pages: tuple[Path, ...]
    """Files for readers, the shortest first."""
    official: Path | None
    """Folder of the files for benchmarks' official evaluators, if there are any."""


class UnwrittenReport(ValueError):
    """A report whose files cannot be written; it can still be shown."""

    def __init__(self, message: str, report: WrittenReport) -> None:
        """Hold the report: without files."""
        super().__init__(message)
        self.report = report


def write_report(folder: RunFolder, *, html: bool = True) -> WrittenReport:
    """Write a run's report into its folder, replacing an earlier one.

    Args:
        folder: of the run.
        html: also write report.html, with answers and the frames that the model saw.

    Raises:
        RunFolderError: this is not a run's folder.
        UnwrittenReport: its files cannot be written; holds what they would have said.
    """
    with _no_search_for_cycles():
        results = read_results(folder)
        summary = summarize(results)
    parts = tuple(sections(summary))
    try:
        pages = tuple(_write_pages(folder, results, summary, parts, html=html))
        official = write_official_files(folder, results)
    except OutputError as error:
        unwritten = WrittenReport(summary=summary, sections=parts, pages=(), official=None)
        raise UnwrittenReport(
            f"the report is not written: {error.refusal}. All answers are kept; when "
            f"this is mended, type: encodeonce report {shlex.quote(str(folder.path))}",
            unwritten,
        ) from error
    return WrittenReport(summary=summary, sections=parts, pages=pages, official=official)


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Make a million records without Python looking through them for garbage: there is none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _write_pages(
    folder: RunFolder,
    results: Results,
    summary: Summary,
    parts: Sequence[Section],
    *,
    html: bool,
) -> Iterator[Path]:
    """Write all but the official files; yield those that are for readers."""
    write_file(folder.path / "report.json", json.dumps(summary, indent=2) + "\n")
    page = folder.path / "report.md"
    write_file(page, to_markdown(f"encodeonce: {folder.path.name}", parts))
    yield page
    for section in parts:
        for figure in section.figures:
            write_file(folder.path / file_of(figure), svg_file(figure.svg))
    if html:
        page = folder.path / "report.html"
        write_file(page, _page(folder, results, summary))
        yield page


def _page(folder: RunFolder, results: Results, summary: Summary) -> str:
    items = (summary["gallery"] or {"items": ()})["items"]
    wanted = [(item["benchmark"], item["sample"]) for item in items]
    found = previews(summary["run"], wanted, known_sha256=media_sha256(results.outcomes))
    return report_page(folder.path.name, summary, found)


def write_pages(
    folder: Path,
    title: str,
    parts: Sequence[Section],
    *,
    tiles: Sequence[Tile],
    figures: Sequence[Figure],
    data: Mapping[str, Any],
    num_first: int = 0,
) -> list[Path]:
    """Write report.md, report.json, the figures and report.html; return the two for readers.

    Args:
        folder: that exists.
        title: plain text.
        parts: sections; in report.md, figures follow the first.
        tiles: the page's key figures.
        figures: drawings.
        data: all numbers.
        num_first: sections that stand before the figures on the page.

    Raises:
        OutputError: a file cannot be written.
    """
    short, page = folder / "report.md", folder / "report.html"
    drawn = Section(title=FIGURES, figures=tuple(figures))
    write_file(folder / "report.json", json.dumps(data, indent=1) + "\n")
    for figure in figures:
        write_file(folder / file_of(figure), svg_file(figure.svg))
    write_file(short, to_markdown(title, [*parts[:1], drawn, *parts[1:]]))
    write_file(
        page, page_of(title, parts, tiles=tiles, figures=figures, data=data, num_first=num_first)
    )
    return [short, page]


def write_file(path: Path, text: str) -> None:
    """Write a file of a report.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(path):  # an earlier report is replaced by a whole one, or stays
        durable.replace(text.encode("utf-8"), path, path.parent)
