"""Pictures of how good variants are, from the summary alone. Notes on points hold the figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from encodeonce.harness.report.charts.plots import Axis, Point, Series, heat_map, line_chart
from encodeonce.harness.report.charts.svg import scale_of
from encodeonce.harness.report.numbers import percent
from encodeonce.harness.report.section import Picture
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.variant import split_variant
from encodeonce.models.kv.spec import FULL

LOG_FROM = 8.0
"""A cost that varies by more than this factor is drawn on a logarithmic axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good the answers of a cell are, and in what measure."""

    measure: str
    """With its unit, as an axis is called."""
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


def matrix_picture(variants: Summary, benchmark: str) -> Picture:
    """Draw a benchmark's quality under weights (columns) and caches (rows)."""
    columns = list(dict.fromkeys(one["weights"] for one in variants["variants"].values()))
    rows = list(dict.fromkeys(one["kv"] for one in variants["variants"].values()))
    cells = {
        (one["kv"], one["weights"]): quality(one["benchmarks"][benchmark])
        for one in variants["variants"].values()
        if benchmark in one["benchmarks"]
    }
    table = [[cells.get((row, column)) for column in columns] for row in rows]
    measures = [one.measure for line in table for one in line if one is not None]
    title = f"{benchmark}: {measures[0] if measures else 'no scores'}"
    svg = heat_map(
        rows,
        columns,
        [[one.value if one is not None else None for one in line] for line in table],
        [[one.text if one is not None else "-" for one in line] for line in table],
        title=title,
    )
    return Picture(title=title, svg=svg, words="Columns are weights, rows are KV caches.")


Cells = Mapping[str, Summary]
"""A benchmark's cells by the variant's name."""


def _cells(summary: Summary, benchmark: str) -> dict[str, Summary]:
    return {
        name: one["benchmarks"][benchmark]
        for name, one in summary["variants"]["variants"].items()
        if benchmark in one["benchmarks"]
    }


def curves(summary: Summary, benchmark: str) -> Iterator[Picture]:
    """Yield quality against kept KV bytes, a picture for each weights.

    Pictures of one benchmark have the same axes; they hold a curve for each method.
    """
    by_weights = _method_series(summary, benchmark)
    points = [p for series in by_weights.values() for one in series for p in one.points]
    if len(points) < 2:
        return
    x, y = _axes("kept KV of a prompt, MiB", points)
    for weights, series in by_weights.items():
        about = f"{benchmark}, {weights}" if len(by_weights) > 1 else benchmark
        title = f"{about}: quality against KV bytes"
        words = (
            "Measured bytes of the prompt's keys and values, mean over answers. Whiskers are 95 % "
            "intervals."
        )
        yield Picture(title=title, svg=line_chart(series, x=x, y=y, title=title), words=words)


def speed_picture(summary: Summary, benchmark: str) -> Picture | None:
    """Draw quality against speed, a curve for each cache through the weights.

    Left out are caches that were decoded as one batch with others: they share one speed.
    """
    cells = _cells(summary, benchmark)
    points: dict[str, list[Point]] = {}
    for name, cell in cells.items():
        x, y = cell["decode_tokens_per_s"], quality(cell)
        if x is not None and y is not None and _is_decoded_alone(name, cells):
            note = f"{y.measure} = {y.value:.4g} at {x:.4g} tokens/s ({name})"
            point = Point(x=x, y=y.value, low=y.low, high=y.high, note=note)
            points.setdefault(split_variant(name)[1], []).append(point)
    every = [point for found in points.values() for point in found]
    if len(every) < 2:
        return None
    x_axis, y_axis = _axes("decoded tokens per second", every)
    series = [
        Series(name=kv, points=tuple(sorted(found, key=lambda point: point.x)))
        for kv, found in points.items()
    ]
    title = f"{benchmark}: quality against speed"
    words = "A point for each weights. Caches that were decoded as one batch are left out."
    svg = line_chart(series, x=x_axis, y=y_axis, title=title)
    return Picture(title=title, svg=svg, words=words)


def _is_decoded_alone(name: str, cells: Cells) -> bool:
    """Return whether no other cache of the same weights was in the variant's batch."""
    weights, kv = split_variant(name)
    compressed = [
        other
        for other in cells
        if split_variant(other)[0] == weights and split_variant(other)[1] != FULL.title
    ]
    return kv == FULL.title or compressed == [name]


def _axes(cost: str, points: Sequence[Point]) -> tuple[Axis, Axis]:
    """Return the axes of some curves: cost across, quality up."""
    ends = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    xs = [point.x for point in points]
    is_wide = min(xs) > 0 and max(xs) / min(xs) > LOG_FROM
    x = _common(Axis(title=cost, scale="log" if is_wide else "linear"), xs)
    return x, _common(Axis(title=points[0].note.partition(" = ")[0]), ends)


def _common(axis: Axis, values: Sequence[float]) -> Axis:
    """Return the axis with ends that hold all values."""
    if axis.scale == "log":
        return replace(axis, low=min(values), high=max(values))
    scale = scale_of(values, axis, 0.0, 1.0)
    return replace(axis, low=scale.low, high=scale.high)


def _method_series(summary: Summary, benchmark: str) -> dict[str, list[Series]]:
    """Return for each weights a curve for each method, its points in order of cost.

    Notes are ``MEASURE = VALUE at COST (VARIANT)``.
    """
    cells = _cells(summary, benchmark)
    points: dict[str, dict[str, list[Point]]] = {}
    for name, cell in cells.items():
        x, y = _kept_mib(cells, name), quality(cell)
        if x is None or y is None:
            continue
        note = f"{y.measure} = {y.value:.4g} at {x:.4g} ({name})"
        weights, kv = split_variant(name)
        curves = points.setdefault(weights, {})
        curves.setdefault(_method_name(summary, kv), []).append(
            Point(x=x, y=y.value, low=y.low, high=y.high, note=note)
        )
    return {
        weights: [
            Series(name=curve, points=tuple(sorted(found, key=lambda point: point.x)))
            for curve, found in curves.items()
        ]
        for weights, curves in points.items()
    }


def _method_name(summary: Summary, kv: str) -> str:
    """Return a cache variant's name without its budget."""
    meaning = summary["run"].get("variants", {}).get("kv", {}).get(kv)
    if meaning is None:
        return kv
    name = str(meaning["method"])
    if meaning["options"]:
        name += "(" + ",".join(f"{k}={v}" for k, v in sorted(meaning["options"].items())) + ")"
    return name if meaning["precision"] == "model" else f"{name}+{meaning['precision']}"


def _kept_mib(cells: Cells, name: str) -> float | None:
    """Return the mean bytes kept of a prompt; of a full cache, what compressed ones call full."""
    kv = cells[name]["kv"]
    if kv is not None:
        return float(kv["kept_bytes"]) / int(kv["num_answers"]) / 2**20
    weights, title = split_variant(name)
    if title != FULL.title:
        return None
    for other, cell in cells.items():
        if split_variant(other)[0] == weights and cell["kv"] is not None:
            return float(cell["kv"]["full_bytes"]) / int(cell["kv"]["num_answers"]) / 2**20
    return None
