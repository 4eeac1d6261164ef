"""Prints a report's sections in the terminal."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable

from encodeonce.harness.report.plain_console import plain_text
from encodeonce.harness.report.section import Section, Table, file_of
from encodeonce.harness.report.visible import visible_section

_GAP = 3
"""Characters between a table's columns, where there is room."""
_INDENT = 2


def print_report(console: Console, sections: Sequence[Section]) -> None:
    """Print the sections, one below the other."""
    for section in map(visible_section, sections):
        if section.is_detail:
            continue
        console.print(plain_text(section.title, "bold"))
        body = _body(section, console.width - _INDENT)
        console.print(Padding(body, (0, 0, 1, _INDENT)))


def _body(section: Section, room: int) -> RenderableType:
    parts: list[RenderableType] = []
    if section.table is not None:
        parts.append(_table(section.table, room))
    parts.extend(plain_text(f"figure: {file_of(figure)}") for figure in section.figures)
    parts.extend(plain_text(sentence) for sentence in section.sentences)
    parts.extend(plain_text(f"- {bullet}") for bullet in section.bullets)
    return Group(*parts)


def _table(table: Table, room: int) -> RichTable:
    """Return the table as it looks best in ``room`` characters."""
    has_heads = any(table.columns)
    shown = table.narrow or range(len(table.columns))
    widths = {n: max([cell_len(row[n]) for row in table.rows], default=0) for n in shown}
    needed = sum(max(cell_len(table.columns[n]), width) for n, width in widths.items())
    is_crowded = needed + _GAP * (len(widths) - 1) > room
    gap = 1 if is_crowded else _GAP
    drawn = RichTable(box=None, show_header=has_heads, pad_edge=False, padding=(0, gap, 0, 0))
    for position, width in widths.items():
        head = table.columns[position]
        words = [cell_len(word) for word in head.split()]
        is_number = has_heads and position >= table.num_words
        drawn.add_column(
            plain_text(head),
            justify="right" if is_number else "left",
            overflow="ellipsis" if is_number else "fold",
            header_style="dim",
            # Where room is short, heads are broken first, then words, and numbers last.
            max_width=max([width, *words]) if is_crowded and is_number else None,
        )
    for row in table.rows:
        drawn.add_row(*(plain_text(row[position]) for position in shown))
    return drawn
