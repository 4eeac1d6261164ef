"""What reports are made of: sections of sentences, tables and figures."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing and what to say of it."""

    title: str
    svg: str
    words: str = ""
    file: str = ""
    """Words for its file's name; those of the title if empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells of text under column heads."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_words: int = 1
    """So many columns on the left are words, the others are numbers."""
    narrow: tuple[int, ...] = ()
    """Numbers of the columns that a terminal has room for; all if empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with a table, figures and sentences below."""

    title: str
    sentences: tuple[str, ...] = ()
    table: Table | None = None
    figures: tuple[Figure, ...] = ()
    bullets: tuple[str, ...] = ()
    is_detail: bool = False
    """Whether it is left to the report's files, and not printed in a terminal."""


def file_of(figure: Figure) -> str:
    """Return the name under which a figure lies beside the report."""
    return re.sub(r"[^A-Za-z0-9._@+]+", "-", figure.file or figure.title).strip("-") + ".svg"
