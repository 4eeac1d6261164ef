"""The pictures of a report, from the summary alone. Notes on points and cells hold the figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from encodeonce.harness.charts import (
    Axis,
    Bar,
    Part,
    Point,
    Series,
    heat_map,
    line_chart,
    stacked_bars,
    waterfall,
)
from encodeonce.harness.record import LOADING
from encodeonce.harness.summary import Summary
from encodeonce.harness.svg import scale_of
from encodeonce.harness.text import percent

LOG_FROM = 8.0
"""A cost that varies by more than this factor is drawn on a logarithmic axis."""
MOST_BARS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawing and what to say of it."""

    title: str
    svg: str
    words: str = ""


def pictures(summary: Summary) -> list[Picture]:
    """Return what can be drawn of a run, in the order of interest."""
    found: list[Picture] = []
    variants = summary["variants"]
    if variants is not None and len(variants["variants"]) > 1:
        for benchmark in _benchmarks(variants):
            found.append(matrix_picture(variants, benchmark))
            found.extend(curves(summary, benchmark))
    for stage, timeline in (summary["timeline"] or {}).items():
        found.append(timeline_picture(stage, timeline))
    if ways := _ways(summary):
        found.append(waterfall_picture(ways))
    if variants is not None and len(variants["variants"]) > 1:
        found.append(variants_time_picture(summary))
    return found


def _benchmarks(variants: Summary) -> list[str]:
    cells = (cell for variant in variants["variants"].values() for cell in variant["benchmarks"])
    return list(dict.fromkeys(cells))


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


def curves(summary: Summary, benchmark: str) -> Iterator[Picture]:
    """Yield quality against kept KV bytes, a picture for each weights.

    Pictures of one benchmark have the same axes; they hold a curve for each method. There is none
    against speed: a sweep decodes all compressed caches as one batch.
    """
    by_weights = _method_series(summary, benchmark)
    points = [p for series in by_weights.values() for one in series for p in one.points]
    if len(points) < 2:
        return
    ends = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    xs = [point.x for point in points]
    is_wide = min(xs) > 0 and max(xs) / min(xs) > LOG_FROM
    x = _common(Axis(title="kept KV of a prompt, MiB", scale="log" if is_wide else "linear"), xs)
    y = _common(Axis(title=points[0].note.partition(" = ")[0]), ends)
    for weights, series in by_weights.items():
        about = f"{benchmark}, {weights}" if len(by_weights) > 1 else benchmark
        title = f"{about}: quality against KV bytes"
        words = (
            "Measured bytes of the prompt's keys and values, mean over answers. Whiskers are 95 % "
            "intervals."
        )
        yield Picture(title=title, svg=line_chart(series, x=x, y=y, title=title), words=words)


def _common(axis: Axis, values: Sequence[float]) -> Axis:
    """Return the axis with ends that hold all values."""
    if axis.scale == "log":
        return replace(axis, low=min(values), high=max(values))
    scale = scale_of(values, axis, 0.0, 1.0)
    return replace(axis, low=scale.low, high=scale.high)


Cells = Mapping[str, Summary]
"""A benchmark's cells by the variant's name."""


def _method_series(summary: Summary, benchmark: str) -> dict[str, list[Series]]:
    """Return for each weights a curve for each method, its points in order of cost.

    Notes are ``MEASURE = VALUE at COST (VARIANT)``.
    """
    variants = summary["variants"]["variants"]
    cells = {
        name: one["benchmarks"][benchmark]
        for name, one in variants.items()
        if benchmark in one["benchmarks"]
    }
    points: dict[str, dict[str, list[Point]]] = {}
    for name, cell in cells.items():
        x, y = _kept_mib(cells, name), quality(cell)
        if x is None or y is None:
            continue
        note = f"{y.measure} = {y.value:.4g} at {x:.4g} ({name})"
        curves = points.setdefault(variants[name]["weights"], {})
        curves.setdefault(_method_name(summary, variants[name]["kv"]), []).append(
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
    weights = name.partition("/")[0]
    for other, cell in cells.items():
        if other.partition("/")[0] == weights and cell["kv"] is not None:
            return float(cell["kv"]["full_bytes"]) / int(cell["kv"]["num_answers"]) / 2**20
    return None


def timeline_picture(stage: str, timeline: Summary) -> Picture:
    """Draw the hit rate over a stage's time."""
    parts = timeline["parts"]
    unit, size = "lines of its journal", 1.0
    if timeline["clock"] == "seconds":
        is_long = parts[-1]["until"] > 180
        unit, size = ("minutes", 60.0) if is_long else ("seconds", 1.0)
    points = tuple(
        Point(
            x=part["until"] / size,
            y=100 * part["hit_rate"],
            note=f"{part['num_hits']} of {part['num_units']} units",
        )
        for part in parts
    )
    words = "Units found in the feature store, of those asked for in each part of the time."
    if timeline["num_pauses"]:
        words += f" Interruptions left out: {timeline['num_pauses']}."
    title = f"Hit rate over time: {stage}"
    svg = line_chart(
        [Series(name="", points=points)],
        x=Axis(title=f"{unit} since {stage} began", low=0.0),
        y=Axis(title="hit rate, %", low=0.0, high=100.0),
        title=title,
        height_px=150.0,
    )
    return Picture(title=title, svg=svg, words=words)


def _ways(summary: Summary) -> list[Bar]:
    """Return milliseconds per answer by stage, uncached and from the store."""
    bars = []
    for name, way in (("plain transformers", "uncached"), ("from the store", "evaluation")):
        stage = summary[way]
        if stage is not None and stage["num_answered"] and stage["seconds"]:
            parts = tuple(
                Part(name=part, value=1000 * seconds / stage["num_answered"])
                for part, seconds in stage["seconds"].items()
            )
            bars.append(Bar(name=name, parts=parts))
    return bars


def waterfall_picture(ways: Sequence[Bar]) -> Picture:
    """Draw where the time of an answer goes, stage after stage."""
    title = "Where the time of an answer goes"
    svg = waterfall(ways, x=Axis(title="milliseconds of worker time per answer"), title=title)
    return Picture(title=title, svg=svg, words="Loading of models is left out.")


def variants_time_picture(summary: Summary) -> Picture:
    """Draw the worker time of precompute and of every variant."""
    bars = []
    if summary["precompute"] is not None:
        bars.append(_bar("precompute, once for all", summary["precompute"]["seconds"]))
    for name, variant in summary["variants"]["variants"].items():
        total: dict[str, float] = {}
        for cell in variant["benchmarks"].values():
            for stage, seconds in cell["seconds"].items():
                total[stage] = total.get(stage, 0.0) + seconds
        bars.append(_bar(name, total))
    title = "Worker time by variant"
    words = "What several variants share is booked on the first of them."
    if len(bars) > MOST_BARS:
        words += f" The first {MOST_BARS} bars of {len(bars)}."
    svg = stacked_bars(bars[:MOST_BARS], x=Axis(title="seconds of worker time"), title=title)
    return Picture(title=title, svg=svg, words=words)


def _bar(name: str, seconds: Mapping[str, float]) -> Bar:
    parts = (Part(name=k, value=v) for k, v in seconds.items() if k not in LOADING)
    return Bar(name=name, parts=tuple(parts))
