"""Prints a report's sections in the terminal, or into a pipe."""

from collections.abc import Iterator, Sequence

from encodeonce.harness.report.layout import MOST_IN_A_LINE, Line, table_lines, wrapped
from encodeonce.harness.report.plain_console import PlainConsole, plain_text
from encodeonce.harness.report.section import Section, Table, file_of
from encodeonce.harness.report.visible import visible_section

_INDENT = 2


def print_report(console: PlainConsole, sections: Sequence[Section]) -> None:
    """Print the sections, one below the other."""
    for section in map(visible_section, sections):
        if section.is_detail:
            continue
        console.print(plain_text(section.title, "bold"), soft_wrap=True)
        _print_lines(console, _lines(section, _room(console)))
        console.print()


def print_table(console: PlainConsole, table: Table) -> None:
    """Print a table by itself."""
    _print_lines(console, table_lines(table, _room(console)))


def _room(console: PlainConsole) -> int | None:
    return None if console.room is None else max(1, console.room - _INDENT)


def _print_lines(console: PlainConsole, lines: Sequence[Line]) -> None:
    for line in lines:
        text = f"{' ' * _INDENT}{line.text}".rstrip()
        console.print(plain_text(text, "dim" if line.is_head else ""), soft_wrap=True)


def _lines(section: Section, room: int | None) -> list[Line]:
    lines = [] if section.table is None else table_lines(section.table, room)
    width = min(room or MOST_IN_A_LINE, MOST_IN_A_LINE)
    return [*lines, *(Line(text) for text in _texts(section, width))]


def _texts(section: Section, width: int) -> Iterator[str]:
    yield from (f"figure: {file_of(figure)}" for figure in section.figures)
    for sentence in section.sentences:
        yield from wrapped(sentence, width, whole_words=False)
    for bullet in section.bullets:
        first, *more = wrapped(bullet, width - 2, whole_words=False)
        yield f"- {first}"
        yield from (f"  {text}" for text in more)
