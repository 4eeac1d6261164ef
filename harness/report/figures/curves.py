"""Curves of variants' quality, from the summary alone. Notes on points hold the numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from encodeonce.harness.report.cells import Cells, cells_of, variant_named
from encodeonce.harness.report.charts.plots import Axis, Point, Series, line_chart
from encodeonce.harness.report.charts.svg import scale_of
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.numbers import percent
from encodeonce.harness.report.section import Figure
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.variant import Variant

LOG_FROM = 8.0
"""A cost that varies by more than this factor is drawn on a logarithmic axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The quality of a cell's answers, and its measure."""

    measure: str
    """The axis title: the measure with its unit."""
    value: float
    low: float | None = None
    high: float | None = None
    text: str = ""


def quality(cell: Summary) -> Quality | None:
    """Return the mean score of a benchmark's cell; where nothing is scored, its perplexity."""
    if (score := cell["accuracy"]) is not None:
        return Quality(
            measure=f"{cell['measure']}, %",
            value=100 * score["mean"],
            low=100 * score["low"],
            high=100 * score["high"],
            text=percent(score["mean"], 1),
        )
    if (nll := cell["nll"]) is not None:
        return Quality(
            measure="perplexity (less is better)",
            value=nll["perplexity"],
            text=f"{nll['perplexity']:.4g}",
        )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A variant's quality at its cost."""

    variant: Variant
    cost: float
    quality: Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves before they are drawn, on a page or for print."""

    title: str
    words: str
    """The caption."""
    series: tuple[Series, ...]
    x: Axis
    y: Axis
    file: str = ""
    """Words for its file name; the title's if empty."""
    levels: tuple[float, ...] = ()
    """Where a horizontal line is drawn."""

    def figure(self) -> Figure:
        """Draw it as SVG."""
        drawn = line_chart(self.series, x=self.x, y=self.y, title=self.title, levels=self.levels)
        return Figure(title=self.title, svg=drawn, words=self.words, file=self.file)


def curves(summary: Summary, benchmark: str) -> Iterator[Chart]:
    """Yield quality against kept KV bytes, a chart for each weight variant and adapter.

    Charts of one benchmark have the same axes; they hold a curve for each method. The first is that
    of the variant which others are compared with, where it has one.
    """
    names, cells = Names.of(summary), cells_of(summary, benchmark)
    placed = _placed(cells, {variant: _kept_mib(cells, variant) for variant in cells})
    if len(placed) < 2:
        return
    x, y = _axes("kept KV of a prompt, MiB", placed)
    models = {one.variant.model: one.variant for one in placed}
    reference = variant_named(summary, summary["variants"]["reference"])
    what = "quality against KV bytes"
    for title, model in sorted(models.items(), key=lambda item: item[0] != reference.model):
        own = [one for one in placed if one.variant.model == title]
        heading, file = f"{benchmark}: {what}", ""
        if len(models) > 1:
            # Files are named by ids: a better display name must not leave the old file behind.
            heading = f"{benchmark}, {names.model(model)}: {what}"
            file = f"{benchmark}, {title}: {what}"
        yield Chart(
            title=heading,
            words="Measured bytes of the prompt's keys and values, mean over answers. Whiskers "
            "are 95 % intervals; points at the same bytes stand side by side. The line is at the "
            "full cache.",
            series=tuple(_series(own, lambda variant: names.curve(variant.kv), "MiB")),
            x=x,
            y=y,
            file=file,
            levels=tuple(one.quality.value for one in own if one.variant.is_full),
        )


def speed_chart(summary: Summary, benchmark: str) -> Chart | None:
    """Return quality against speed: a curve for each cache, with a point for each weight variant.

    Left out are caches that were decoded as one batch with others: they share one speed.
    """
    names, cells = Names.of(summary), cells_of(summary, benchmark)
    speeds = {
        variant: cell["decode_tokens_per_s"]
        for variant, cell in cells.items()
        if _is_decoded_alone(variant, cells)
    }
    placed = _placed(cells, speeds)
    if len(placed) < 2:
        return None
    x, y = _axes("decoded tokens per second", placed)
    return Chart(
        title=f"{benchmark}: quality against speed",
        words="A point for each weight variant. Caches decoded as one batch are left out.",
        series=tuple(_series(placed, lambda one: (one.kv, names.kv(one.kv)), "tokens/s")),
        x=x,
        y=y,
    )


def _placed(cells: Cells, costs: Mapping[Variant, float | None]) -> list[Placed]:
    """Return the variants of which both cost and quality are known."""
    return [
        Placed(variant=variant, cost=cost, quality=good)
        for variant, cost in costs.items()
        if cost is not None and (good := quality(cells[variant])) is not None
    ]


def _series(
    placed: Sequence[Placed], curve_of: Callable[[Variant], tuple[str, str]], unit: str
) -> list[Series]:
    """Return the curves, the points of each in order of cost.

    Args:
        placed: the points.
        curve_of: returns the key of a variant's curve, and the curve's name.
        unit: of the costs.
    """
    found: dict[str, list[Point]] = {}
    names = {}
    for one in placed:
        key, names[key] = curve_of(one.variant)
        good = one.quality
        # By its id, which is what `encodeonce compare` takes.
        at = f"at {one.cost:.4g} {unit} ({one.variant.name})"
        note = f"{good.measure} = {good.value:.4g} {at}"
        point = Point(x=one.cost, y=good.value, low=good.low, high=good.high, note=note)
        found.setdefault(key, []).append(point)
    return [
        Series(name=names[key], points=tuple(sorted(points, key=lambda point: point.x)))
        for key, points in found.items()
    ]


def _is_decoded_alone(variant: Variant, cells: Cells) -> bool:
    """Return whether no other cache of the same weights was in the variant's batch."""
    compressed = [
        other for other in cells if other.weights == variant.weights and not other.is_full
    ]
    return variant.is_full or compressed == [variant]


def _axes(cost: str, placed: Sequence[Placed]) -> tuple[Axis, Axis]:
    """Return the axes of some curves: cost across, quality up."""
    qualities = [one.quality for one in placed]
    ends = [end for q in qualities for end in (q.value, q.low, q.high) if end is not None]
    costs = [one.cost for one in placed]
    is_wide = min(costs) > 0 and max(costs) / min(costs) > LOG_FROM
    x = _common(Axis(title=cost, scale="log" if is_wide else "linear"), costs)
    return x, _common(Axis(title=qualities[0].measure), ends)


def _common(axis: Axis, values: Sequence[float]) -> Axis:
    """Return the axis, its ends wide enough for all values."""
    if axis.scale == "log":
        return replace(axis, low=min(values), high=max(values))
    scale = scale_of(values, axis, 0.0, 1.0)
    return replace(axis, low=scale.low, high=scale.high)


def _kept_mib(cells: Cells, variant: Variant) -> float | None:
    """Return a prompt's mean kept bytes, MiB; a full cache's come from compressed variants."""
    kv = cells[variant]["kv"]
    if kv is not None:
        return float(kv["kept_bytes"]) / int(kv["num_answers"]) / 2**20
    if not variant.is_full:
        return None
    for other, cell in cells.items():
        if other.own_full == variant and cell["kv"] is not None:
            return float(cell["kv"]["full_bytes"]) / int(cell["kv"]["num_answers"]) / 2**20
    return None
