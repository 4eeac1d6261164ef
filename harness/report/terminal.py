"""Prints a report's sections in the terminal."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from encodeonce.harness.report.section import Section, Table, file_of


def print_report(console: Console, sections: Sequence[Section]) -> None:
    """Print the sections, one below the other."""
    for section in sections:
        if section.is_detail:
            continue
        console.print(Text(section.title, style="bold"))
        console.print(Padding(_body(section), (0, 0, 1, 2)))


def _body(section: Section) -> RenderableType:
    parts: list[RenderableType] = []
    if section.table is not None:
        parts.append(_table(section.table))
    parts.extend(Text(f"picture: {file_of(picture)}") for picture in section.pictures)
    parts.extend(Text(sentence) for sentence in section.sentences)
    parts.extend(Text(f"- {bullet}") for bullet in section.bullets)
    return Group(*parts)


def _table(table: Table) -> RichTable:
    has_heads = any(table.columns)
    drawn = RichTable(box=None, show_header=has_heads, pad_edge=False, padding=(0, 3, 0, 0))
    shown = table.narrow or range(len(table.columns))
    for position in shown:
        is_figure = has_heads and position >= table.num_words
        drawn.add_column(
            table.columns[position],
            justify="right" if is_figure else "left",
            overflow="ellipsis" if is_figure else "fold",
            header_style="dim",
        )
    for row in table.rows:
        drawn.add_row(*(Text(row[position]) for position in shown))
    return drawn
