"""``encodeonce benchmarks``: lists the benchmarks, and shows what each one needs."""

import importlib
import re
from textwrap import TextWrapper
from typing import Annotated

import typer
from rich.padding import Padding
from rich.table import Table

from encodeonce.datasets.options import EMPTY, Option, options_of, run_file_entry
from encodeonce.datasets.registry import benchmark_class, benchmark_names
from encodeonce.harness.report.plain_console import PlainConsole, plain_text
from encodeonce.jobs.cli.user_errors import user_errors

console = PlainConsole()

MAX_WIDTH = 100
"""Widest column of running text; longer lines are hard to read."""


def benchmarks(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show one benchmark's data and options.")
    ] = None,
) -> None:
    """List the benchmarks, or show what one of them needs."""
    with user_errors():
        if name is None:
            _print_all()
        else:
            _print_one(name)


def _print_all() -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("name", no_wrap=True)
    table.add_column("media", no_wrap=True)
    table.add_column("benchmark", overflow="fold")
    for name in benchmark_names():
        known = benchmark_class(name)
        names = [option.name for option in options_of(known) if "." not in option.name]
        asks = plain_text(known.about.title)
        asks.append(f"\n{known.about.source}", style="dim")
        asks.append(f"\noptions: {', '.join(names) or 'none'}\n", style="dim")
        table.add_row(plain_text(name, "bold"), plain_text(known.about.media), asks)
    console.print(table)
    console.print("For a benchmark's data and run-file entry, type: encodeonce benchmarks NAME")


def _print_one(name: str) -> None:
    known = benchmark_class(name)
    about = known.about
    console.print(plain_text(about.title, "bold"))
    console.print(plain_text(f"{about.media}; {about.source}", "dim"), soft_wrap=True)
    _print_section("Data", [about.download])
    # A command is repeated on a line of its own, not wrapped, so that it can be copied.
    commands = [quoted for quoted in about.download.split("`")[1::2] if " " in quoted]
    if commands:
        console.print(
            plain_text("\n" + "\n".join(f"    {one}" for one in commands)), soft_wrap=True
        )
    if options := options_of(known):
        console.print(plain_text("\nOptions", "bold"))
        console.print(Padding(_option_table(options), (0, 0, 0, 2), expand=False))
    module = importlib.import_module(f"encodeonce.datasets.benchmarks.{name}")
    _print_section("Prompts and scores", _paragraphs(module.__doc__ or ""))
    console.print(plain_text("\nIn a run file", "bold"))
    console.print(plain_text(run_file_entry(name, known)), soft_wrap=True)


def _print_section(title: str, paragraphs: list[str]) -> None:
    console.print(plain_text(f"\n{title}", "bold"))
    # Not rich's wrapping, which breaks URLs apart.
    wrapper = TextWrapper(
        width=min(console.width, MAX_WIDTH),
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    texts = ["\n".join(map(wrapper.fill, paragraph.splitlines())) for paragraph in paragraphs]
    console.print(plain_text("\n\n".join(texts)), soft_wrap=True)


def _option_table(options: list[Option]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=MAX_WIDTH)
    for option in options:
        words = plain_text(f"{option.allowed}; {_default(option)}", "dim")
        if option.meaning:
            words.append(f"\n{option.meaning}", style="not dim")
        table.add_row(plain_text(option.name, "bold"), words)
    return table


def _default(option: Option) -> str:
    if option.default is None:
        return "required"
    if option.default in EMPTY:
        return "optional"
    listed = option.default.strip("[]").split(", ")
    is_all = option.allowed == f"list of {' | '.join(listed)}"
    return "default all of them" if is_all else f"default {option.default}"


def _paragraphs(docstring: str) -> list[str]:
    """Return a docstring's paragraphs, to be rewrapped; lists stay as they are."""
    found = []
    for block in docstring.strip().split("\n\n"):
        lines = block.splitlines()
        is_list = any(re.match(r"\s|[-*] |\d+\. ", line) for line in lines)
        found.append(("\n" if is_list else " ").join(lines).replace("``", "`"))
    return found
