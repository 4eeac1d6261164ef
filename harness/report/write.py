"""Writes a run's report: report.md, report.json, its figures and report.html."""

import json
from dataclasses import dataclass
from pathlib import Path

from encodeonce.harness.report.charts.svg import svg_file
from encodeonce.harness.report.html import report_page
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.report.section import Section, file_of
from encodeonce.harness.report.summary import sections
from encodeonce.harness.report.thumbnails import previews
from encodeonce.harness.results.run_summary import summarize_run, write_official_files
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.folder import RunFolder


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


def write_report(folder: RunFolder, *, html: bool = True) -> WrittenReport:
    """Write a run's report into its folder, replacing an earlier one.

    Args:
        folder: of the run.
        html: also write report.html, with answers and the frames that the model saw.

    Raises:
        RunFolderError: this is not a run's folder.
    """
    summary = summarize_run(folder)
    parts = tuple(sections(summary))
    _write(folder.path / "report.json", json.dumps(summary, indent=2) + "\n")
    pages = [folder.path / "report.md"]
    _write(pages[0], to_markdown(f"encodeonce: {folder.path.name}", parts))
    for section in parts:
        for figure in section.figures:
            _write(folder.path / file_of(figure), svg_file(figure.svg))
    if html:
        pages.append(folder.path / "report.html")
        _write(pages[1], _page(folder, summary))
    return WrittenReport(
        summary=summary,
        sections=parts,
        pages=tuple(pages),
        official=write_official_files(folder),
    )


def _page(folder: RunFolder, summary: Summary) -> str:
    items = (summary["gallery"] or {"items": ()})["items"]
    wanted = [(item["benchmark"], item["sample"]) for item in items]
    found = previews(summary["run"], wanted, known_sha256=folder.media_sha256())
    return report_page(folder.path.name, summary, found)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
