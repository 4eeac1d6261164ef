"""Figures of variants' quality, from the summary alone. Notes on points hold the numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from encodeonce.harness.report.cells import Cells, cells_of, variants_in
from encodeonce.harness.report.charts.plots import Axis, Point, Series, heat_map, line_chart
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


def matrix_figure(summary: Summary, benchmark: str) -> Figure:
    """Draw a benchmark's quality under weights (columns) and caches (rows)."""
    names, cells = Names.of(summary), cells_of(summary, benchmark)
    every = variants_in(summary)
    columns = {variant.model: variant for variant in every}
    rows = list(dict.fromkeys(variant.kv for variant in every))
    found = {(v.kv, v.model): quality(cell) for v, cell in cells.items()}
    table = [[found.get((row, column)) for column in columns] for row in rows]
    measures = [one.measure for line in table for one in line if one is not None]
    title = f"{benchmark}: {measures[0] if measures else 'no scores'}"
    svg = heat_map(
        [names.kv(row) for row in rows],
        [names.model(column) for column in columns.values()],
        [[one.value if one is not None else None for one in line] for line in table],
        [[one.text if one is not None else "-" for one in line] for line in table],
        title=title,
    )
    return Figure(title=title, svg=svg, words="Columns are weights, rows are KV caches.")


def curves(summary: Summary, benchmark: str) -> Iterator[Figure]:
    """Yield quality against kept KV bytes, a figure for each weight variant and adapter.

    Figures of one benchmark have the same axes; they hold a curve for each method.
    """
    names, cells = Names.of(summary), cells_of(summary, benchmark)
    placed = _placed(cells, {variant: _kept_mib(cells, variant) for variant in cells})
    if len(placed) < 2:
        return
    x, y = _axes("kept KV of a prompt, MiB", placed)
    models = {one.variant.model: one.variant for one in placed}
    what = "quality against KV bytes"
    for title, model in models.items():
        own = [one for one in placed if one.variant.model == title]
        series = _series(own, lambda variant: names.curve(variant.kv), "MiB")
        heading, file = f"{benchmark}: {what}", ""
        if len(models) > 1:
            # Files are named by ids: a better display name must not leave the old file behind.
            heading = f"{benchmark}, {names.model(model)}: {what}"
            file = f"{benchmark}, {title}: {what}"
        yield Figure(
            title=heading,
            svg=line_chart(series, x=x, y=y, title=heading),
            words="Measured bytes of the prompt's keys and values, mean over answers. Whiskers "
            "are 95 % intervals.",
            file=file,
        )


def speed_figure(summary: Summary, benchmark: str) -> Figure | None:
    """Draw quality against speed: a curve for each cache, with a point for each weight variant.

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
    series = _series(placed, lambda one: (one.kv, names.kv(one.kv)), "tokens/s")
    title = f"{benchmark}: quality against speed"
    return Figure(
        title=title,
        svg=line_chart(series, x=x, y=y, title=title),
        words="A point for each weight variant. Caches decoded as one batch are left out.",
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
