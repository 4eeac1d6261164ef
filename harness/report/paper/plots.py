"""Figures for print, drawn by matplotlib: as wide as a column, in type that a page can hold."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

from encodeonce.harness.report.charts.lines import Series, asides_px
from encodeonce.harness.report.charts.svg import LIGHT as COLOURS
from encodeonce.harness.report.charts.svg import printable, scale_of
from encodeonce.harness.report.figures.curves import Chart
from encodeonce.harness.report.figures.differences import Forest
from encodeonce.harness.report.visible import on_one_line


class FileFormat(StrEnum):
    """The kinds of files that figures are written as."""

    PDF = "pdf"
    PNG = "png"
    SVG = "svg"


WIDTH_IN = 3.4
"""Inches: a column of a page of two."""
ROW_IN = 0.15
AXES_PX = 330.0
"""About the width of the axes, in the unit in which the page moves points aside."""
CURVES_IN = 2.4
MOST_LETTERS = 44
"""Of a name; a longer one would leave no room to draw in."""
LEGEND_LINE_IN = 0.13
PNG_DPI = 300

MARKERS = "os^Dv"

_STYLE: Mapping[str, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1,
    "lines.markersize": 3.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: many venues refuse Type 3
    "svg.hashsalt": "encodeonce",  # ids that do not change from one time to the next
    "text.parse_math": False,  # names are text, whatever is in them
    "text.usetex": False,
}


class NoMatplotlib(ValueError):
    """Figures for print were asked for, and what draws them is not installed."""


def require_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises:
        NoMatplotlib: it is not installed.
    """
    if find_spec("matplotlib") is None:
        raise NoMatplotlib(
            "--figures draws with matplotlib, which is not installed. Type: pip install "
            "'encodeonce[paper]' (or pip install matplotlib)"
        )


def draw_forest(forest: Forest, kind: FileFormat) -> bytes:
    """Return a forest plot as the content of a file."""
    names: list[str] = []
    headings: list[int] = []
    rows = {}
    for group in forest.groups:
        if group.heading:
            headings.append(len(names))
            names.append(group.heading)
        for row in group.rows:
            rows[len(names)] = row
            names.append(row.name)
    with _figure(ROW_IN * len(names) + 0.45, kind) as (figure, content):
        axes = figure.add_subplot()
        if forest.at is not None:
            axes.axvline(forest.at, color="#8b929b", linewidth=0.6)
        axes.errorbar(
            [row.mean for row in rows.values()],
            list(rows),
            xerr=_lengths([(row.low, row.mean, row.high) for row in rows.values()]),
            fmt="o",
            color=COLOURS[0],
            elinewidth=0.9,
            capsize=1.8,
        )
        labels = axes.set_yticks(range(len(names)), [_text(name) for name in names])
        for number, tick in enumerate(labels):
            tick.label1.set_fontweight("bold" if number in headings else "normal")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(forest.x.low, forest.x.high)
        axes.set_xlabel(_text(forest.x.title))
        for number, row in rows.items():
            words = f"{row.mean:{forest.sign}.1f}".replace("-", "\u2212")
            axes.annotate(
                words,
                (1.02, number),
                xycoords=("axes fraction", "data"),
                va="center",
                annotation_clip=False,
            )
    return content.getvalue()


def draw_chart(chart: Chart, kind: FileFormat) -> bytes:
    """Return curves as the content of a file."""
    named = [one for one in chart.series if one.name]
    height_in = CURVES_IN + LEGEND_LINE_IN * len(named) + 0.1
    with _figure(height_in, kind) as (figure, content):
        axes = figure.add_subplot()
        for level in chart.levels:
            axes.axhline(level, color="#8b929b", linewidth=0.6)
        lines = [_curve(axes, n, one) for n, one in enumerate(_side_by_side(chart))]
        axes.set_xscale(chart.x.scale)
        if chart.x.scale == "log":
            axes.xaxis.set_major_locator(_ticker().LogLocator(base=10, subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(_ticker().FormatStrFormatter("%g"))
            axes.xaxis.set_minor_formatter(_ticker().NullFormatter())
        axes.grid(axis="y", color="#dfe2e6", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.set_ylim(chart.y.low, None)
        axes.set_xlabel(_text(chart.x.title))
        axes.set_ylabel(_text(chart.y.title))
        if named:
            _legend(figure, lines, chart.series)
    return content.getvalue()


def _side_by_side(chart: Chart) -> list[Series]:
    """Return the curves with points moved that would hide one another, as on the page."""
    xs = [point.x for one in chart.series for point in one.points]
    across = scale_of(xs, chart.x, 0.0, AXES_PX)
    return [
        replace(
            one,
            points=tuple(
                replace(point, x=across.value(across.px(point.x) + aside))
                for point, aside in zip(one.points, asides, strict=True)
            ),
        )
        for one, asides in zip(chart.series, asides_px(chart.series, across), strict=True)
    ]


def _curve(axes: Any, number: int, series: Series) -> Any:
    """Draw a curve, its whiskers on its marks; return what stands for it in the legend."""
    has_ends = all(p.low is not None and p.high is not None for p in series.points)
    ends = [(p.low or 0.0, p.y, p.high or 0.0) for p in series.points]
    drawn = axes.errorbar(
        [point.x for point in series.points],
        [point.y for point in series.points],
        yerr=_lengths(ends) if has_ends else None,
        marker=MARKERS[number % len(MARKERS)],
        color=COLOURS[number % len(COLOURS)],
        elinewidth=0.7,
    )
    for bar in drawn[2]:
        bar.set_alpha(0.55)
    return drawn[0]


def _legend(figure: Any, lines: Sequence[Any], series: Sequence[Series]) -> None:
    # Names come afterwards: a label that begins with an underscore would be left out.
    legend = figure.legend(lines, ["-"] * len(lines), loc="outside lower left", handlelength=1.5)
    for text, one in zip(legend.get_texts(), series, strict=True):
        text.set_text(_text(one.name))


def _lengths(ends: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    """Return how far intervals (low, mean, high) reach down and up from their means."""
    below = [max(0.0, mean - low) for low, mean, _ in ends]
    return [below, [max(0.0, high - mean) for _, mean, high in ends]]


def _text(words: str) -> str:
    line = printable(on_one_line(words))
    return line if len(line) <= MOST_LETTERS else f"{line[: MOST_LETTERS - 1]}…"


def _ticker() -> Any:
    from matplotlib import ticker

    return ticker


@contextmanager
def _figure(height_in: float, kind: FileFormat) -> Iterator[tuple[Any, io.BytesIO]]:
    """Yield a figure to draw into, and where its file's content is found afterwards."""
    # Costs half a second: only who asks for such figures pays it.
    import matplotlib
    from matplotlib.figure import Figure

    content = io.BytesIO()
    style: Any = dict(_STYLE)
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A letter that the font lacks becomes a box; no reason to disturb the reader's terminal.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        yield figure, content
        # No dates: the same results give the same file.
        undated = {FileFormat.PDF: {"CreationDate": None}, FileFormat.SVG: {"Date": None}}
        figure.savefig(
            content,
            format=kind.value,
            dpi=PNG_DPI,
            bbox_inches="tight",
            pad_inches=0.02,
            metadata=undated.get(kind),
        )
