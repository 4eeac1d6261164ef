"""The parts of a report: sections of sentences, tables and figures."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing with its title and caption."""

    title: str
    svg: str
    words: str = ""
    file: str = ""
    """Words for its file name; the title's if empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells of text under column heads."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_words: int = 1
    """Number of columns on the left that hold words; the others hold numbers."""
    narrow: tuple[int, ...] = ()
    """Indices of the columns that fit a terminal; all if empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with a table, figures and sentences below."""

    title: str
    sentences: tuple[str, ...] = ()
    table: Table | None = None
    figures: tuple[Figure, ...] = ()
    bullets: tuple[str, ...] = ()
    is_detail: bool = False
    """Whether only the report's files show it, not the terminal."""


def file_of(figure: Figure) -> str:
    """Return the name of a figure's file, which lies beside the report."""
    return file_name(figure.file or figure.title, "svg")


def file_name(words: str, ending: str) -> str:
    """Return words as the name of a file."""
    return f"{re.sub(r'[^A-Za-z0-9._@+]+', '-', words).strip('-')}.{ending}"
