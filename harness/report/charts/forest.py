"""A forest plot: differences with their intervals, one below another, around a line at zero."""

from collections.abc import Sequence
from dataclasses import dataclass

from encodeonce.harness.report.charts.svg import (
    LINE_PX,
    TIGHT_PX,
    WIDTH_PX,
    Axis,
    Scale,
    drawing,
    label,
    labels,
    line,
    marker,
    ruler,
    scale_of,
    shorten,
    text_width_px,
    wrapped,
)

ROW_PX = 22
"""Height of a row whose name takes one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference with its interval, in the unit of the axis."""

    name: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that have something in common, which the heading says; it may be empty."""

    heading: str
    rows: tuple[Difference, ...]


def grouped_forest(
    groups: Sequence[Group], *, x: Axis, title: str, at: float | None = 0.0, sign: str = "+"
) -> str:
    """Draw many rows, each a line high: name, interval, and mean as a number.

    Args:
        groups: from the top down.
        x: the axis.
        title: for screen readers.
        at: where a line goes down all rows; None for none.
        sign: of the numbers, as in a format: ``"+"`` also marks those above zero.

    Raises:
        ValueError: a value is not finite.
    """
    rows = [row for group in groups for row in group.rows]
    widest = max((text_width_px(row.name) for row in rows), default=0.0)
    left = min(0.47 * WIDTH_PX, widest + 12)
    ends = [end for row in rows for end in (row.low, row.mean, row.high)]
    across = scale_of([*ends, *(() if at is None else (at,))], x, left, WIDTH_PX - 46)
    body, top = [], 2.0
    for group in groups:
        if group.heading:
            body.append(label(0, top + 16, group.heading, colour="eo-text eo-head"))
            top += LINE_PX + 4
        for row in group.rows:
            drawn, height_px = _row(row, across, top, left, sign)
            body.append(drawn)
            top += height_px
        top += 4
    if at is not None:
        body.insert(0, line(across.px(at), 2, across.px(at), top, "eo-axis"))
    body.append(ruler(across, top, x))
    return drawing(title, "".join(body), width_px=WIDTH_PX, height_px=top + 44)


def _row(row: Difference, across: Scale, top: float, left: float, sign: str) -> tuple[str, float]:
    """Return a row of a grouped forest, and its height."""
    names = wrapped(row.name, left - 8)
    height_px = float(ROW_PX + TIGHT_PX * (len(names) - 1))
    middle = top + height_px / 2
    note = f"{row.name}: {row.mean:{sign}.1f} ({row.low:{sign}.1f} to {row.high:{sign}.1f})"
    whisker = _whisker(row, across, middle)
    words = label(WIDTH_PX, middle + 5, f"{row.mean:{sign}.1f}", anchor="end")
    mark = marker(0, across.px(row.mean), middle, note)
    return f"{labels(0, middle, names)}{whisker}{mark}{words}", height_px


def _whisker(row: Difference, across: Scale, y: float) -> str:
    low, high = across.px(row.low), across.px(row.high)
    ends = (line(x, y - 4, x, y + 4, "eo-line eo-l0") for x in (low, high))
    return line(low, y, high, y, "eo-line eo-l0") + "".join(ends)


def forest(
    differences: Sequence[Difference], *, x: Axis, title: str, captions: Sequence[str] = ()
) -> str:
    """Draw the differences. One whose interval crosses the line at zero may be chance.

    Args:
        differences: from the top down.
        x: the axis.
        title: for screen readers.
        captions: lines above it, e.g. what is compared.

    Raises:
        ValueError: a value is not finite.
    """
    ends = [0.0, *(end for one in differences for end in (one.low, one.mean, one.high))]
    across = scale_of(ends, x, 8.0, WIDTH_PX - 12)
    body = [label(0, LINE_PX * n + 14, words) for n, words in enumerate(captions)]
    top = LINE_PX * len(captions) + 6.0
    for one in differences:
        words = f"{one.mean:+.1f} ({one.low:+.1f} to {one.high:+.1f})"
        body.append(label(0, top + 14, shorten(one.name, WIDTH_PX - text_width_px(words) - 12)))
        body.append(label(WIDTH_PX, top + 14, words, anchor="end"))
        middle = top + LINE_PX + 8
        body.append(line(across.px(0.0), middle - 10, across.px(0.0), middle + 16, "eo-axis"))
        body.append(_whisker(one, across, middle))
        body.append(marker(0, across.px(one.mean), middle, f"{one.name}: {words}"))
        top += LINE_PX + 24
    body.append(ruler(across, top, x))
    return drawing(title, "".join(body), width_px=WIDTH_PX, height_px=top + 44)
