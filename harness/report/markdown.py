"""Prints a report's sections as Markdown."""

from collections.abc import Sequence

from encodeonce.harness.report.section import Section, Table, file_of
from encodeonce.harness.report.visible import on_one_line, visible_section


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the report as one Markdown page."""
    parts = [f"# {_words(title)}"]
    for section in map(visible_section, sections):
        parts.append(f"## {_words(section.title)}")
        if section.table is not None:
            parts.append(_table(section.table))
        for figure in section.figures:
            title = _words(figure.title)
            parts.append(f"![{title}]({file_of(figure)})\n\n*{title}. {_words(figure.words)}*")
        parts.extend(_words(sentence) for sentence in section.sentences)
        if section.bullets:
            parts.append("\n".join(f"- {_words(bullet)}" for bullet in section.bullets))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    num_words = table.num_words
    align = ["---:" if n >= num_words else "---" for n in range(len(table.columns))]
    if not any(table.columns):
        align = ["---" for _ in table.columns]
    lines = [_row(table.columns), f"|{'|'.join(align)}|", *(_row(row) for row in table.rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    escaped = (_indented(_words(cell)).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _words(text: str) -> str:
    """Keep text on its line and free of markup: it may be anything a model wrote."""
    return on_one_line(text).replace("&", "&amp;").replace("<", "&lt;")


def _indented(cell: str) -> str:
    """Keep leading spaces, which Markdown would drop."""
    text = cell.lstrip(" ")
    return "&nbsp;" * (len(cell) - len(text)) + text
