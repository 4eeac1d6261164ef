"""Figures of results as SVG: curves with intervals, heat maps, bars. Pure, without dependencies.

::

    curve = Series(name="snapkv", points=(Point(x=1.5, y=71.0, low=64.0, high=77.0), ...))
    drawn = line_chart(
        [curve], x=Axis(title="kept KV, MiB", scale="log"), y=Axis(title="accuracy, %"),
        title="demo: accuracy against kept KV bytes",
    )
    path.write_text(svg_file(drawn), encoding="utf-8")     # a file of its own
    page = f"<style>{STYLE}</style> ... {drawn} ..."        # or part of a page

Give values in the unit that the axis names. Drawings are as wide as a phone's screen and scale;
they follow the reader's colour scheme (`svg.STYLE`). Names may be any text: they are escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from encodeonce.harness.report.charts.lines import Point, Series, line_chart
from encodeonce.harness.report.charts.svg import (
    LINE_PX,
    NUM_COLOURS,
    STYLE,
    TIGHT_PX,
    WIDTH_PX,
    Axis,
    Scale,
    drawing,
    fainter,
    label,
    labels,
    legend,
    ruler,
    safe,
    scale_of,
    shorten,
    svg_file,
    swatch,
    text_width_px,
    wrapped,
)

__all__ = [
    "STYLE",
    "Axis",
    "Bar",
    "Part",
    "Point",
    "Series",
    "heat_map",
    "line_chart",
    "stacked_bars",
    "svg_file",
    "waterfall",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A named length of a bar."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Lengths that add up."""

    name: str
    parts: tuple[Part, ...]

    @property
    def total(self) -> float:
        """The whole length."""
        return sum(part.value for part in self.parts)


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    *,
    title: str,
    ends: tuple[float, float] | None = None,
) -> str:
    """Draw a table whose cells are darker the larger their value; None is left empty.

    A text that is wider than its cell is only shown on hover: a number that is cut is another one.

    Args:
        rows: names of the rows.
        columns: names of the columns.
        values: of the cells, row by row.
        texts: of the cells, row by row.
        title: of the drawing.
        ends: the values of the lightest and of the darkest shade, so that drawings can be compared;
            by default the least and the largest value.

    Raises:
        ValueError: ``values`` or ``texts`` are not as many as rows times columns.
    """
    for table in (values, texts):
        if len(table) != len(rows) or any(len(row) != len(columns) for row in table):
            raise ValueError(f"a heat map of {len(rows)} x {len(columns)} needs as many cells")
    left = min(0.5 * WIDTH_PX, max(map(text_width_px, rows), default=0.0) + 10)
    cell_px = (WIDTH_PX - left) / max(1, len(columns))
    low, high = ends or _ends([value for row in values for value in row if value is not None])
    heads = [wrapped(name, cell_px - 6) for name in columns]
    names = [wrapped(name, left - 8) for name in rows]
    top = TIGHT_PX * max(map(len, heads), default=1) + 9.0
    height_px = 38.0 if any(len(lines) > 1 for lines in names) else 30.0
    body = [
        labels(left + (number + 0.5) * cell_px, (top - 4) / 2, lines, anchor="middle")
        for number, lines in enumerate(heads)
    ]
    for name, lines, row, words in zip(rows, names, values, texts, strict=True):
        body.append(labels(0, top + height_px / 2, lines))
        for number, (value, text) in enumerate(zip(row, words, strict=True)):
            note = f"{name}, {columns[number]}: {text}"
            shade = None if value is None else _shade(value, low, high)
            box = (left + number * cell_px, top, cell_px, height_px)
            body.append(_cell(box, shade, text, note))
        top += height_px + 2
    return drawing(title, "".join(body), width_px=WIDTH_PX, height_px=top)


def stacked_bars(bars: Sequence[Bar], *, x: Axis, title: str) -> str:
    """Draw horizontal bars, one below another; parts of the same name share a colour.

    Raises:
        ValueError: a value is not finite.
    """
    names = list(dict.fromkeys(part.name for bar in bars for part in bar.parts))
    across = scale_of([0.0, *(bar.total for bar in bars)], x, 0.0, WIDTH_PX - 14)
    body, top = [], 0.0
    for bar in bars:
        total = _short(bar.total)
        lines = wrapped(bar.name, WIDTH_PX - text_width_px(total) - 16)
        top += TIGHT_PX * (len(lines) - 1)
        body.append(labels(0, top + 9 - TIGHT_PX * (len(lines) - 1) / 2, lines))
        body.append(label(WIDTH_PX, top + 14, total, anchor="end"))
        start = 0.0
        for part in bar.parts:
            note = f"{bar.name}, {part.name}: {_short(part.value)}"
            number = names.index(part.name)
            body.append(_length(across, start, part.value, top + LINE_PX, number, note))
            start += part.value
        top += LINE_PX + 26
    body.append(ruler(across, top, x))
    drawn, names_px = legend(names, top + 46, WIDTH_PX, swatch)
    body.append(drawn)
    return drawing(title, "".join(body), width_px=WIDTH_PX, height_px=top + 46 + names_px)


def waterfall(bars: Sequence[Bar], *, x: Axis, title: str) -> str:
    """Draw each part of a bar on a line of its own, starting where the previous one ended.

    Raises:
        ValueError: a value is not finite.
    """
    names = [part.name for bar in bars for part in bar.parts]
    left = min(0.4 * WIDTH_PX, max(map(text_width_px, names), default=0.0) + 10)
    # Room on the right for the figure behind the longest bar.
    across = scale_of([0.0, *(bar.total for bar in bars)], x, left, WIDTH_PX - 52)
    body, top = [], 0.0
    for number, bar in enumerate(bars):
        body.append(label(0, top + 15, f"{bar.name}: {_short(bar.total)}"))
        top += LINE_PX + 2
        start = 0.0
        for part in bar.parts:
            note = f"{bar.name}, {part.name}: {_short(part.value)}"
            body.append(label(0, top + 13, shorten(part.name, left - 8), colour="eo-soft"))
            body.append(_length(across, start, part.value, top, number, note))
            start += part.value
            body.append(label(across.px(start) + 5, top + 13, _short(part.value)))
            top += LINE_PX + 1
        top += 8
    body.append(ruler(across, top, x))
    return drawing(title, "".join(body), width_px=WIDTH_PX, height_px=top + 44)


def _short(value: float) -> str:
    """Return three digits, or all before the point: 2,000 ms must not appear as ``2e+03``."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def _length(across: Scale, start: float, value: float, top: float, number: int, note: str) -> str:
    x, end = across.px(start), across.px(start + value)
    # A gap between parts, but never one that swallows a short part.
    kind = f"eo-c{number % NUM_COLOURS}" + (" eo-gap" if end - x > 4 else "")
    return (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{max(0.0, end - x):.1f}" height="18" '
        f'class="{kind}"{fainter(number)}><title>{safe(note)}</title></rect>'
    )


def _ends(known: Sequence[float]) -> tuple[float, float]:
    return (min(known), max(known)) if known else (0.0, 0.0)


def _shade(value: float, low: float, high: float) -> float:
    """Return how opaque a cell is: 0.08 for the smallest value, 0.9 for the largest."""
    return 0.49 if low == high else 0.08 + 0.82 * (value - low) / (high - low)


def _cell(box: tuple[float, float, float, float], shade: float | None, text: str, note: str) -> str:
    """Return a cell; ``box`` is left, top, width and height in pixels."""
    x, top, width, height = box
    words = label(
        x + width / 2,
        top + height / 2 + 5,
        text if text_width_px(text) <= width - 2 else "",
        anchor="middle",
        colour="eo-on" if shade is not None and shade > 0.75 else "eo-text",
    )
    sides = f'x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.0f}"'
    shown = (
        f'fill-opacity="{shade:.2f}" class="eo-heat"' if shade is not None else 'class="eo-grid"'
    )
    return f"<g><title>{safe(note)}</title><rect {sides} {shown}/>{words}</g>"
