"""``encodeonce report``, with which other commands end too."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from encodeonce.harness.report.paper.plots import FileFormat, require_matplotlib
from encodeonce.harness.report.paper.write import write_paper
from encodeonce.harness.report.plain_console import PlainConsole, UnprintableError, plain_text
from encodeonce.harness.report.summary import headline
from encodeonce.harness.report.terminal import print_report
from encodeonce.harness.report.write import UnwrittenReport, WrittenReport, write_file, write_report
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.results.summary import Summary, problems
from encodeonce.harness.results.work import Work
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.output_error import OutputError
from encodeonce.jobs.afterwards import log_if_asked
from encodeonce.jobs.cli.user_errors import stop, user_errors

console = PlainConsole()


def report(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    html: Annotated[
        bool,
        typer.Option("--html", help="Also write report.html, with figures, answers and frames."),
    ] = False,
    figures: Annotated[
        list[FileFormat] | None,
        typer.Option(help="Also write figures for papers to paper/. Can be repeated."),
    ] = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="Also write tables for LaTeX (booktabs) to paper/.")
    ] = False,
    log: Annotated[
        bool,
        typer.Option("--log", help="Also send the figures to the run file's trackers once more."),
    ] = False,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Only write all figures as JSON to a file; - is standard output.",
        ),
    ] = None,
) -> None:
    """Print the report of a run, and write report.md and report.json anew."""
    with user_errors():
        run = RunFolder(folder)
        if json_file is None:
            if figures:
                require_matplotlib()
            finish(run, html, paper=Paper(tuple(figures or ()), latex), log=log)
            return
        if figures or latex:
            raise ValueError("--json writes nothing else: leave it out, or --figures and --latex")
        summary = summarize_run(run)
        text = json.dumps(summary, indent=2) + "\n"
        if json_file == "-":
            console.print(plain_text(text), end="", soft_wrap=True)
        else:
            write_file(Path(json_file), text)
        if failed := problems(summary):
            stop("; ".join(failed))


class Paper(NamedTuple):
    """What is written for papers."""

    figures: tuple[FileFormat, ...] = ()
    has_tables: bool = False

    def write(self, folder: RunFolder, summary: Summary) -> list[Path]:
        """Write it, if there is anything; return the files."""
        if not self.figures and not self.has_tables:
            return []
        return write_paper(folder.path, summary, self.figures, self.has_tables)


NO_PAPER = Paper()


def finish(
    folder: RunFolder,
    html: bool = True,
    work: Work | None = None,
    paper: Paper = NO_PAPER,
    also: Sequence[str] = (),
    log: bool = False,
) -> None:
    """Write and print the report of a run; exit with 1 if anything failed.

    Args:
        folder: the run's.
        html: whether the page is written as well.
        work: what this command has done, by stage.
        paper: what is written for papers as well.
        also: what failed in this command, one sentence each.
        log: whether the run's trackers are told, if its file names some.
    """
    failed = []
    files: list[Path] = []
    try:
        written = write_report(folder, html=html)
    except UnwrittenReport as error:
        written = error.report
        failed.append(f"{error}")
    try:
        files = paper.write(folder, written.summary)
    except OutputError as error:
        failed.append(f"for papers, nothing is written: {error}")
    try:
        _print(written, work)
        for path in files:
            console.print(f"for papers: {path}", soft_wrap=True)
    except UnprintableError as error:
        where = f"; the report is in {written.pages[0]}" if written.pages else ""
        failed.append(f"{error}{where}")
    if log:
        sent, refused = log_if_asked(folder, written.summary)
        failed += refused
        for line in sent:
            console.print(f"logged to {line}", soft_wrap=True)
    if failed := [*also, *problems(written.summary), *failed]:
        stop("; ".join(failed))


def _print(written: WrittenReport, work: Work | None) -> None:
    print_report(console, written.sections)
    for line in headline(written.summary, work):
        console.print(line, style="bold", soft_wrap=True)
    for page in written.pages:
        console.print(f"report: {page}", soft_wrap=True)
    if written.official:
        console.print(f"for official evaluators: {written.official}", soft_wrap=True)
