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
from encodeonce.harness.results.compare import CompareError, compare
from encodeonce.harness.results.sides import read_side
from encodeonce.harness.results.summary import Summary
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
