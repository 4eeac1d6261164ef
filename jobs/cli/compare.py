"""``encodeonce compare``: compares two runs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.report.charts.svg import svg_file
from encodeonce.harness.report.compare import compare_figure, compare_headline, compare_sections
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.report.terminal import print_report
from encodeonce.harness.report.visible import on_one_line
from encodeonce.harness.results.compare import CompareError, Side, compare
from encodeonce.harness.results.summary import Summary, summarize_precompute
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.output_error import writing
from encodeonce.jobs.cli.user_errors import user_errors

console = PlainConsole()

MOST_FLIPS_SHOWN = 10
"""Most flips shown in the terminal; files list all of them."""

_WHICH = "Output folder of a run, or FOLDER:VARIANT for one variant: results:none/snapkv@0.25."


def compare_runs(
    a: Annotated[str, typer.Argument(metavar="A", help=_WHICH)],
    b: Annotated[str, typer.Argument(metavar="B", help=_WHICH)],
    output: Annotated[
        list[Path] | None,
        typer.Option(help="Also write to FILE.md, FILE.json or FILE.svg. Can be repeated."),
    ] = None,
) -> None:
    """Compare two runs, or two variants: what differs, and its effect on answers and time."""
    with user_errors():
        files = output or []
        _check_endings(files)
        comparison = compare(read_side(a), read_side(b))
        for path in files:
            with writing(path):
                path.write_text(_content(comparison, path), encoding="utf-8")
    print_report(console, compare_sections(comparison, most_flips=MOST_FLIPS_SHOWN))
    for line in compare_headline(comparison):
        console.print(line, style="bold", soft_wrap=True)
    for path in files:
        console.print(f"written: {path}", soft_wrap=True)


def read_side(text: str) -> Side:
    """Read the run or variant that ``FOLDER`` or ``FOLDER:VARIANT`` names.

    Raises:
        CompareError: the folder has no answers, or none of this variant.
        RunFolderError: there is no run in the folder.
    """
    path, variant = _split(text)
    folder = RunFolder(path)
    run = folder.description()
    every = folder.records("records")
    if not every:
        raise CompareError(f"{path} has no answers yet; run `encodeonce eval` first")
    records = [record for record in every if variant in (None, record.variant)]
    if variant is not None:
        known = dict.fromkeys(record.variant for record in every)
        if not records:
            raise CompareError(
                f"{path} has no answers of the variant {variant!r}; it has {', '.join(known)}"
            )
    journal = folder.precompute_outcomes()
    return Side(
        name=text,
        run=run,
        records=tuple(records),
        precompute=summarize_precompute(journal) if journal else None,
        others=tuple(record for record in every if variant not in (None, record.variant)),
    )


def _split(text: str) -> tuple[Path, str | None]:
    """Split at the last colon that follows a folder's name; both names may contain colons."""
    if Path(text).is_dir():
        return Path(text), None
    at = text.rfind(":")
    while at > 0:
        if Path(text[:at]).is_dir():
            return Path(text[:at]), text[at + 1 :]
        at = text.rfind(":", 0, at)
    return Path(text), None


def _check_endings(files: list[Path]) -> None:
    for path in files:
        if path.suffix not in (".md", ".json", ".svg"):
            raise CompareError(f"--output {path}: the name must end in .md, .json or .svg")


def _content(comparison: Summary, path: Path) -> str:
    if path.suffix == ".json":
        return json.dumps(comparison, indent=2) + "\n"
    if path.suffix == ".svg":
        return svg_file(compare_figure(comparison))
    names = " and ".join(comparison[side]["name"] for side in ("first", "second"))
    page = to_markdown(f"encodeonce: {names}", compare_sections(comparison))
    lines = (on_one_line(line) for line in compare_headline(comparison))
    return page + "\n" + "\n".join(f"**{line}**\n" for line in lines)
