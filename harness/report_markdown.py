"""Prints a report's sections as Markdown."""

from collections.abc import Sequence

from encodeonce.harness.report import Section, Table


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the report as one Markdown page."""
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.table is not None:
            parts.append(_table(section.table))
        parts.extend(section.sentences)
        if section.bullets:
            parts.append("\n".join(f"- {bullet}" for bullet in section.bullets))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    align = ["---", *("---:" for _ in table.columns[1:])]
    if not any(table.columns):
        align = ["---" for _ in table.columns]
    lines = [_row(table.columns), f"|{'|'.join(align)}|", *(_row(row) for row in table.rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    escaped = (_indented(cell).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _indented(cell: str) -> str:
    """Keep leading spaces, which Markdown would drop."""
    text = cell.lstrip(" ")
    return "&nbsp;" * (len(cell) - len(text)) + text
