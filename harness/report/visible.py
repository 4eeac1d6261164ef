"""Makes text of others safe to show: names of files, labels, questions, answers, error messages.

A terminal obeys control characters (it moves the cursor, renames its window, hides text), and so do
the programs that show a Markdown file or a log. Whatever is not ours passes through here on its way
to a terminal, to ``report.md``, or to a log; the page has `charts.svg.printable`.
"""

import logging
import re

from encodeonce.harness.report.section import Figure, Section, Table

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls, less tab and line feed
    "\u2028\u2029"  # line breaks of other kinds
    "\u202a-\u202e\u2066-\u2069"  # overrides of the direction, which reorder what is around them
    "\ud800-\udfff]"  # bytes of a file name that are not UTF-8: no stream takes these
)

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"


def visible(text: str) -> str:
    r"""Return text with control characters written as escapes; tabs and line feeds stay.

    >>> visible("\x1b[31mred")
    '\\x1b[31mred'
    """
    return _UNSEEN.sub(_escaped, text.replace("\r\n", "\n"))


def on_one_line(text: str) -> str:
    """Return visible text with its lines joined by spaces."""
    return visible(" ".join(text.splitlines()))


def visible_section(section: Section) -> Section:
    """Return a section with visible text throughout."""
    return Section(
        title=on_one_line(section.title),
        sentences=_all(section.sentences),
        table=None if section.table is None else _visible_table(section.table),
        figures=tuple(_visible_figure(figure) for figure in section.figures),
        bullets=_all(section.bullets),
        is_detail=section.is_detail,
    )


class VisibleFormatter(logging.Formatter):
    """Formats log records as visible text, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        return visible(super().format(record))


def log_visibly() -> None:
    """Write warnings to stderr as visible text, unless logging is set up already."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)  # workers write more than that to their files
    handler.setFormatter(VisibleFormatter(LOG_FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _all(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(visible(text) for text in texts)


def _visible_table(table: Table) -> Table:
    return Table(
        columns=_all(table.columns),
        rows=tuple(_all(row) for row in table.rows),
        num_words=table.num_words,
        narrow=table.narrow,
    )


def _visible_figure(figure: Figure) -> Figure:
    # The name of its file follows from the title or from `file`, as they were.
    return Figure(
        title=on_one_line(figure.title),
        svg=figure.svg,
        words=visible(figure.words),
        file=figure.file or figure.title,
    )
