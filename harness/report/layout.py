"""Lays tables out as lines of text for a terminal of any width, or for none (pipes, files).

No name and no number is ever cut: lines break between words. Where a table is wider than the
terminal, heads wrap first, then the words in its cells. If that is not enough, its columns continue
below, beside their rows' names once more; and where not even one column fits there, the table is
turned: each row becomes a list, with a head and a value on each line.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from encodeonce.harness.report.section import Table

MOST_IN_A_LINE = 100
"""Characters of a line of running text; longer lines are hard to read."""
_GAPS = (3, 2, 1)
"""Characters between columns: as many as there is room for."""
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
"""Characters of scripts that are written without spaces: lines may break beside each."""
_PIECES = re.compile(f"\\s*(?:[{_WIDE}]|[^\\s{_WIDE}]+)")
_WORDS = re.compile(r"\s*\S+")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table."""

    text: str
    is_head: bool = False


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, with the widths that it may have."""

    head: str
    cells: tuple[str, ...]
    is_number: bool
    is_name: bool

    @property
    def widest(self) -> int:
        """The width at which nothing wraps."""
        return max(map(_width, (self.head, *self.cells)), default=0)

    @property
    def least(self) -> int:
        """The width below which a number or a word would be cut."""
        heads = map(cell_len, self.head.split())
        cells = map(_width, self.cells) if self.is_number else map(self._longest, self.cells)
        return max([*heads, *cells], default=0)

    def _longest(self, cell: str) -> int:
        return max((_width(line) for line in wrapped(cell, 1, self.is_name)), default=0)

    def head_lines(self, width: int) -> list[str]:
        """Return the head's lines."""
        return wrapped(self.head, width)

    def cell_lines(self, row: int, width: int) -> list[str]:
        """Return a cell's lines."""
        return wrapped(self.cells[row], width, self.is_name)


def wrapped(text: str, room: int | None, whole_words: bool = True) -> list[str]:
    """Return text as lines, broken between words.

    Args:
        text: each of its own lines is wrapped; spaces before the first word indent all of it.
        room: characters of a line, which only a longer word exceeds; None for no limit.
        whole_words: break at spaces only, also in scripts that are written without them.
    """
    found = []
    for line in text.expandtabs(4).splitlines() or [""]:
        found += [line.rstrip()] if room is None else _broken(line.rstrip(), room, whole_words)
    return found


def table_lines(table: Table, room: int | None) -> list[Line]:
    """Return the table's lines, none of which ends in spaces.

    Args:
        table: what to show. Where ``narrow`` names columns, only these.
        room: characters of a line, which only a longer name or number exceeds; None for no limit.
    """
    columns = _columns(table)
    has_heads = any(column.head for column in columns)
    blocks = _blocks(columns, room) if room is not None and has_heads else [columns]
    if blocks is None:
        return list(_turned(columns, room))
    lines: list[Line] = []
    for block in blocks:
        lines += [Line("")] if lines else []
        lines += _drawn(block, room, has_heads)
    return lines


def _columns(table: Table) -> list[_Column]:
    shown = table.narrow or range(len(table.columns))
    has_heads = any(table.columns)
    return [
        _Column(
            head=table.columns[n],
            cells=tuple(row[n] for row in table.rows),
            is_number=has_heads and n >= table.num_words,
            is_name=position == 0,
        )
        for position, n in enumerate(shown)
    ]


def _blocks(columns: Sequence[_Column], room: int | None) -> list[list[_Column]] | None:
    """Return the columns in groups that fit, each with the first one; None if none would."""
    if room is None:
        return [list(columns)]
    first, *others = columns
    gap = _GAPS[-1]
    blocks, left = [[first]], room - first.least
    for column in others:
        needed = gap + column.least
        if needed > left:
            if len(blocks[-1]) > 1:
                blocks.append([first])
                left = room - first.least
            if needed > left:
                return None
        blocks[-1].append(column)
        left -= needed
    return blocks


def _drawn(columns: Sequence[_Column], room: int | None, has_heads: bool) -> Iterator[Line]:
    gap, widths = _widths(columns, room)
    if has_heads:
        heads = [column.head_lines(width) for column, width in zip(columns, widths, strict=True)]
        height = max(map(len, heads))
        # Heads of fewer lines stand at the bottom.
        heads = [[""] * (height - len(head)) + head for head in heads]
        yield from (Line(text, is_head=True) for text in _joined(columns, heads, widths, gap))
    for row in range(len(columns[0].cells)):
        cells = [
            column.cell_lines(row, width) for column, width in zip(columns, widths, strict=True)
        ]
        yield from (Line(text) for text in _joined(columns, cells, widths, gap))


def _widths(columns: Sequence[_Column], room: int | None) -> tuple[int, list[int]]:
    """Return the gap and the columns' widths: numbers' heads give way first, then words."""
    widths = [column.widest for column in columns]
    if room is None:
        return _GAPS[0], widths
    for gap in _GAPS:
        space = room - gap * (len(columns) - 1)
        if sum(widths) <= space:
            return gap, widths
    leasts = [column.least for column in columns]
    for numbers in (True, False):
        order = [n for n, column in enumerate(columns) if column.is_number == numbers]
        while sum(widths) > space and (able := [n for n in order if widths[n] > leasts[n]]):
            widths[max(able, key=widths.__getitem__)] -= 1
    return _GAPS[-1], widths


def _joined(
    columns: Sequence[_Column],
    cells: Sequence[Sequence[str]],
    widths: Sequence[int],
    gap: int,
) -> Iterator[str]:
    """Yield the lines of a row whose cells have lines of their own."""
    for number in range(max(map(len, cells))):
        parts = []
        for column, lines, width in zip(columns, cells, widths, strict=True):
            text = lines[number] if number < len(lines) else ""
            blank = " " * max(0, width - cell_len(text))
            parts.append(blank + text if column.is_number else text + blank)
        yield (" " * gap).join(parts).rstrip()


def _turned(columns: Sequence[_Column], room: int | None) -> Iterator[Line]:
    """Yield each row as a list of its cells, below its name."""
    first, *others = columns
    width = max(_width(column.head) for column in others)
    for row, name in enumerate(first.cells):
        if row:
            yield Line("")
        yield from (Line(text) for text in wrapped(name, room))
        for column in others:
            if room is None or width + 4 + column.least <= room:
                space = None if room is None else room - width - 4
                head, *more = column.cell_lines(row, space) if space else [column.cells[row]]
                yield Line(f"  {set_cell_size(column.head, width)}  {head}".rstrip())
                yield from (Line(f"{' ' * (width + 4)}{text}") for text in more)
            else:
                yield Line(f"  {column.head}")
                for text in wrapped(column.cells[row], room - 4, whole_words=False):
                    yield Line(f"    {text}")


def _broken(line: str, room: int, whole_words: bool) -> list[str]:
    if cell_len(line) <= room:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    lines, current = [], indent
    for piece in (_WORDS if whole_words else _PIECES).findall(line.lstrip()):
        is_begun = len(current) > len(indent)
        if is_begun and cell_len(current + piece) > room:
            lines.append(current)
            current = indent + piece.lstrip()
        else:
            current += piece
    return [*lines, current]


def _width(text: str) -> int:
    return max(map(cell_len, text.expandtabs(4).splitlines()), default=0)
