"""Curves with intervals, as SVG: the part of `plots` that draws lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from encodeonce.harness.report.charts.svg import (
    LINE_PX,
    NUM_COLOURS,
    WIDTH_PX,
    Axis,
    Scale,
    drawing,
    label,
    legend,
    line,
    marker,
    ruler,
    scale_of,
    shorten,
)

SAME_PLACE_PX = 4.0
"""Points that are closer than this across have the same place."""
ASIDE_PX = 5.0
"""How far apart such points are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A measured point, perhaps with an interval of its ``y``."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    """Shown on hover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points joined by a line, in the order given."""

    name: str
    """In the legend; may be empty where there is only one series."""
    points: tuple[Point, ...]
    is_marked: bool = True
    """Whether points have marks; a curve over time has too many."""


def line_chart(
    series: Sequence[Series],
    *,
    x: Axis,
    y: Axis,
    title: str,
    height_px: float = 270.0,
    levels: Sequence[float] = (),
) -> str:
    """Draw one curve for each series, with whiskers where points have an interval.

    Args:
        series: the curves.
        x: the axis across.
        y: the axis up.
        title: for screen readers.
        height_px: of the plot, without its legend.
        levels: where to draw a horizontal line, e.g. at what is required.

    Raises:
        ValueError: a value is not finite, or not positive on a logarithmic axis.
    """
    points = [point for one in series for point in one.points]
    ends = (end for point in points for end in (point.low, point.high))
    ys = [point.y for point in points] + [end for end in ends if end is not None] + [*levels]
    across = scale_of([point.x for point in points], x, 52.0, WIDTH_PX - 12)
    up = scale_of(ys, y, height_px, LINE_PX + 8.0)
    body = [_grid(across, up, x, y)]
    for level in levels:
        at = up.px(level)
        body.append(line(across.start_px, at, across.end_px, at, "eo-axis"))
    asides = asides_px(series, across)
    body += [_curve(n, one, across, up, asides[n]) for n, one in enumerate(series)]
    named = [one.name for one in series if one.name]
    names, names_px = legend(named, height_px + 46, WIDTH_PX, marker) if named else ("", 0.0)
    body.append(names)
    return drawing(title, "".join(body), width_px=WIDTH_PX, height_px=height_px + 46 + names_px)


def _grid(across: Scale, up: Scale, x: Axis, y: Axis) -> str:
    parts = [label(0, 14, shorten(y.title, WIDTH_PX), colour="eo-soft")]
    for tick in up.ticks():
        height = up.px(tick)
        parts.append(line(across.start_px, height, across.end_px, height, "eo-grid"))
        parts.append(label(44, height + 4.5, f"{tick:.6g}", anchor="end", colour="eo-soft"))
    parts.append(ruler(across, up.start_px, x))
    return "".join(parts)


def asides_px(series: Sequence[Series], across: Scale) -> list[list[float]]:
    """Return how far aside each point is drawn, pixels, by series.

    Points with intervals that have the same place stand side by side, each with its whisker on it;
    otherwise one would hide another.
    """
    found = [[0.0] * len(one.points) for one in series]
    places = sorted(
        (across.px(point.x), number, position)
        for number, one in enumerate(series)
        for position, point in enumerate(one.points)
        if point.low is not None and point.high is not None
    )
    while places:
        here = [place for place in places if place[0] - places[0][0] < SAME_PLACE_PX]
        places = places[len(here) :]
        here.sort(key=lambda place: place[1:])
        for order, (_, number, position) in enumerate(here):
            found[number][position] = ASIDE_PX * (order - (len(here) - 1) / 2)
    return found


def _curve(number: int, series: Series, across: Scale, up: Scale, asides: Sequence[float]) -> str:
    """Return a series, its points moved by ``asides`` pixels to the right."""
    colour = f"eo-line eo-l{number % NUM_COLOURS}"
    places = [
        (across.px(point.x) + aside, up.px(point.y))
        for point, aside in zip(series.points, asides, strict=True)
    ]
    parts = []
    if len(places) > 1:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" class="{colour}"/>')
    for point, (x, y) in zip(series.points, places, strict=True):
        if point.low is not None and point.high is not None:
            whisker = line(x, up.px(point.low), x, up.px(point.high), colour)
            parts.append(f'<g stroke-opacity="0.55">{whisker}</g>')
        if series.is_marked:
            note = ": ".join(words for words in (series.name, point.note) if words)
            parts.append(marker(number, x, y, note))
    return "".join(parts)
