"""A forest plot: differences with their intervals, one below another, around a line at zero."""

from collections.abc import Sequence
from dataclasses import dataclass

from encodeonce.harness.report.charts.svg import (
    LINE_PX,
    WIDTH_PX,
    Axis,
    drawing,
    label,
    line,
    marker,
    ruler,
    scale_of,
    shorten,
    text_width_px,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference with its interval, in the unit of the axis."""

    name: str
    mean: float
    low: float
    high: float


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
        body.append(line(across.px(one.low), middle, across.px(one.high), middle, "eo-line eo-l0"))
        for end in (one.low, one.high):
            body.append(
                line(across.px(end), middle - 4, across.px(end), middle + 4, "eo-line eo-l0")
            )
        body.append(marker(0, across.px(one.mean), middle, f"{one.name}: {words}"))
        top += LINE_PX + 24
    body.append(ruler(across, top, x))
    return drawing(title, "".join(body), width_px=WIDTH_PX, height_px=top + 44)
