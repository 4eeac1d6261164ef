"""What reports are made of: sections of sentences, tables and pictures."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawing and what to say of it."""

    title: str
    svg: str
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells of text under column heads."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_words: int = 1
    """So many columns on the left are words, the others are figures."""
    narrow: tuple[int, ...] = ()
    """Numbers of the columns that a terminal has room for; all if empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with a table, pictures and sentences below."""

    title: str
    sentences: tuple[str, ...] = ()
    table: Table | None = None
    pictures: tuple[Picture, ...] = ()
    bullets: tuple[str, ...] = ()
    is_detail: bool = False
    """Whether it is left to the report's files, and not printed in a terminal."""


def file_of(picture: Picture) -> str:
    """Return the name under which a picture lies beside the report."""
    return re.sub(r"[^A-Za-z0-9._@+]+", "-", picture.title).strip("-") + ".svg"
