"""The parts of charts: escaped text, scales, ticks, a legend, and colours for light and dark.

Everything is a string of SVG elements. Colours come from `STYLE` by class, so that one drawing
suits both colour schemes: a page that shows drawings includes `STYLE` once, and `svg_file` puts it
into a drawing that stands alone.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

FONT_PX = 13
LETTER_PX = 0.6 * FONT_PX
"""Width of an average letter, rather more than less: fonts differ."""
LINE_PX = 20
"""Height of a line of text."""
TIGHT_PX = 15
"""From one line to the next of the same text."""

WIDTH_PX = 400.0
"""Width of every drawing: that of a phone's screen. Elsewhere it is scaled."""

NUM_COLOURS = 7

LIGHT = ("#005a9c", "#b83c00", "#00916a", "#c964ad", "#b88a00", "#5799dc", "#3a3a3a")
_DARK = ("#4a9fe0", "#ff7a33", "#27c08f", "#f0a0d0", "#f2d64b", "#bccdff", "#858585")
"""Hues after Okabe and Ito (Color universal design, 2008), moved apart in lightness until all seven
differ under simulated protanopia, deuteranopia and tritanopia (Machado et al. 2009), with about 3:1
or more against the background. Series also differ by marker: none rests on colour alone."""


def _colours(palette: Sequence[str]) -> str:
    rules = (
        f".eo-c{n} {{ fill: {colour}; }} .eo-l{n} {{ stroke: {colour}; }}"
        for n, colour in enumerate(palette)
    )
    return " ".join(rules)


STYLE = f"""
.eo-chart {{ font-family: system-ui, sans-serif; font-size: {FONT_PX}px; }}
.eo-text {{ fill: #1c1e21; }} .eo-soft {{ fill: #555b63; }} .eo-on {{ fill: #ffffff; }}
.eo-head {{ font-weight: 600; }}
.eo-grid {{ stroke: #dfe2e6; fill: none; }} .eo-axis {{ stroke: #8b929b; fill: none; }}
.eo-line {{ fill: none; stroke-width: 2; stroke-linejoin: round; }}
.eo-gap {{ stroke: #ffffff; stroke-width: 1; }} .eo-heat {{ fill: #0062a8; }}
{_colours(LIGHT)}
@media screen and (prefers-color-scheme: dark) {{
.eo-text {{ fill: #e8eaed; }} .eo-soft {{ fill: #a7aeb8; }}
.eo-grid {{ stroke: #2f353d; }} .eo-axis {{ stroke: #6c747e; }}
.eo-gap {{ stroke: #14171b; }} .eo-heat {{ fill: #2f8fd8; }}
{_colours(_DARK)}
}}
"""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """Replace what XML does not allow (controls, lone surrogates) by a question mark in a box."""
    return _NOT_XML.sub("\ufffd", text)


def safe(text: str) -> str:
    """Return printable text for an element or a quoted attribute, of HTML as of XML."""
    return escape(printable(text))


def text_width_px(text: str) -> float:
    """Estimate the width of a line."""
    return LETTER_PX * len(text)


def shorten(text: str, width_px: float) -> str:
    """Cut text that is wider than there is room for."""
    count = max(1, int(width_px / LETTER_PX))
    return text if len(text) <= count else text[: count - 1] + "…"


def wrapped(text: str, width_px: float) -> list[str]:
    """Return text on one line, or on two where one is too narrow; the second may be cut."""
    if text_width_px(text) <= width_px:
        return [text]
    beginning = text[: max(1, int(width_px / LETTER_PX)) + 1]
    for mark in (", ", " "):
        head, found, _ = beginning.rpartition(mark)
        if found and head:
            rest = text[len(head) + len(mark) :]
            return [head + mark.rstrip(), shorten(rest, width_px)]
    return [shorten(text, width_px)]


Anchor = Literal["start", "middle", "end"]


def label(
    x: float, y: float, text: str, *, anchor: Anchor = "start", colour: str = "eo-text"
) -> str:
    """Return a line of text whose base line is at ``y``."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{colour}">{safe(text)}</text>'
    )


def labels(x: float, y: float, lines: Sequence[str], *, anchor: Anchor = "start") -> str:
    """Return lines of text, one below the other, whose middle is at ``y``."""
    first = y + 5 - TIGHT_PX * (len(lines) - 1) / 2
    return "".join(
        label(x, first + TIGHT_PX * number, text, anchor=anchor)
        for number, text in enumerate(lines)
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line of class ``kind``."""
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" class="{kind}"/>'


def marker(number: int, x: float, y: float, note: str = "") -> str:
    """Return the mark of a series, with its own colour and shape and a note shown on hover."""
    r = 4.5
    shapes = (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M{x:.1f} {y - 5.5:.1f}l5.5 10h-11z",
        f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z",
        f"M{x:.1f} {y + 5.5:.1f}l5.5 -10h-11z",
    )
    shape = shapes[number % len(shapes)]
    title = f"<title>{safe(note)}</title>" if note else ""
    return f'<path d="{shape}" class="eo-c{number % NUM_COLOURS}">{title}</path>'


def swatch(number: int, x: float, y: float) -> str:
    """Return a square of a part's colour."""
    square = f'x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"'
    return f'<rect {square} class="eo-c{number % NUM_COLOURS}"{fainter(number)}/>'


def fainter(number: int) -> str:
    """Return an attribute that tells areas beyond the last colour from those before it."""
    return ' fill-opacity="0.5"' if number // NUM_COLOURS % 2 else ""


def legend(
    names: Sequence[str], top: float, width_px: float, mark: Callable[[int, float, float], str]
) -> tuple[str, float]:
    """Return the names beside their marks, in as many lines as they need, and the height."""
    parts, x, y = [], 0.0, top + LINE_PX / 2
    for number, name in enumerate(names):
        shown = shorten(name, width_px - 20)
        needed = 34 + text_width_px(shown)
        if x > 0 and x + needed > width_px:
            x, y = 0.0, y + LINE_PX
        parts.append(mark(number, x + 7, y))
        parts.append(label(x + 18, y + 4.5, shown))
        x += needed
    return "".join(parts), y + LINE_PX / 2 - top


def drawing(title: str, body: str, *, width_px: float, height_px: float) -> str:
    """Return an ``<svg>`` that scales with the room it is given."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="eo-chart" role="img" '
        f'aria-label="{safe(title)}" viewBox="0 0 {width_px:.0f} {height_px:.0f}" '
        f'width="{width_px:.0f}">{body}</svg>'
    )


def svg_file(drawn: str) -> str:
    """Return the content of an .svg file: the drawing with its colours in it."""
    head, mark, rest = drawn.partition(">")
    return f"{head}{mark}<style>{STYLE}</style>{rest}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis. Its ends come from the data unless they are given."""

    title: str
    """Quantity and unit, e.g. ``"accuracy, %"``."""
    scale: Literal["linear", "log"] = "linear"
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Maps values from ``low`` to ``high`` to pixels."""

    low: float
    high: float
    start_px: float
    end_px: float
    kind: Literal["linear", "log"] = "linear"

    def px(self, value: float) -> float:
        """Return where a value lies."""
        low, high, at = self.low, self.high, value
        if self.kind == "log":
            low, high, at = math.log(low), math.log(high), math.log(value)
        return self.start_px + (at - low) / (high - low) * (self.end_px - self.start_px)

    def value(self, px: float) -> float:
        """Return the value that lies at a place: the inverse of `px`."""
        share = (px - self.start_px) / (self.end_px - self.start_px)
        if self.kind == "log":
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share

    def ticks(self) -> list[float]:
        """Return three to eight round values in the range."""
        if self.kind == "log":
            return _log_ticks(self.low, self.high)
        return linear_ticks(self.low, self.high)


def linear_ticks(low: float, high: float) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten between low and high."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten, with 2 and 5 times them where there are few; else linear ones."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(found) >= 3:
            every = math.ceil(len(found) / 8)
            return found[::every]
    return linear_ticks(low, high)


def scale_of(values: Iterable[float], axis: Axis, start_px: float, end_px: float) -> Scale:
    """Return a scale that holds all values, its ends round where they are not given.

    Raises:
        ValueError: a value is not finite, or not positive on a logarithmic axis.
    """
    found = list(values) or [0.0, 1.0]
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{axis.title}: only finite values can be drawn")
    low = min(found) if axis.low is None else axis.low
    high = max(found) if axis.high is None else axis.high
    if axis.scale == "log":
        if min(low, *found) <= 0:
            raise ValueError(f"{axis.title}: a logarithmic axis needs values above 0")
        low, high = (low / 2, high * 2) if low == high else (low / 1.1, high * 1.1)
    else:
        if low == high:
            low, high = (0.0, 1.0) if low == 0 else (low - 1, high + 1)
        ticks = linear_ticks(low, high)
        step = ticks[1] - ticks[0]
        low = math.floor(low / step + 1e-9) * step if axis.low is None else low
        high = math.ceil(high / step - 1e-9) * step if axis.high is None else high
    return Scale(low=low, high=high, start_px=start_px, end_px=end_px, kind=axis.scale)


def ruler(across: Scale, top: float, axis: Axis) -> str:
    """Return a horizontal axis: a line, ticks with numbers, and the title below."""
    parts = [line(across.start_px, top, across.end_px, top, "eo-axis")]
    for tick in across.ticks():
        at = across.px(tick)
        parts.append(line(at, top, at, top + 4, "eo-axis"))
        text = f"{tick:.6g}"
        half = text_width_px(text) / 2
        at = min(max(at, half), WIDTH_PX - half)
        parts.append(label(at, top + 18, text, anchor="middle", colour="eo-soft"))
    middle = (across.start_px + across.end_px) / 2
    title = shorten(axis.title, 2 * min(middle, WIDTH_PX - middle))
    parts.append(label(middle, top + 37, title, anchor="middle", colour="eo-soft"))
    return "".join(parts)
