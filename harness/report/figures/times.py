"""Figures of hit rates and time, and the list of the figures on a run's page, from the summary."""

from collections.abc import Mapping, Sequence

from encodeonce.harness.report.cells import benchmarks_in, variants_in
from encodeonce.harness.report.charts.plots import (
    Axis,
    Bar,
    Part,
    Point,
    Series,
    line_chart,
    stacked_bars,
    waterfall,
)
from encodeonce.harness.report.costs import own_seconds
from encodeonce.harness.report.figures.curves import curves, speed_chart
from encodeonce.harness.report.figures.grids import grid_figures
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.section import Figure
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.record import LOADING

MOST_BARS = 16


def page_figures(summary: Summary) -> list[Figure]:
    """Return the figures beside those that the page opens with (`differences.opening`).

    A hit rate is drawn only if it changes; else the key figure above says all.
    """
    found: list[Figure] = []
    variants = summary["variants"]
    if variants is not None and len(variants["variants"]) > 1:
        for benchmark in benchmarks_in(summary):
            found += [chart.figure() for chart in list(curves(summary, benchmark))[1:]]
            if (speed := speed_chart(summary, benchmark)) is not None:
                found.append(speed.figure())
    if variants is not None:
        for benchmark in benchmarks_in(summary):
            found.extend(grid_figures(summary, benchmark))
    for stage, timeline in (summary["timeline"] or {}).items():
        if len({part["hit_rate"] for part in timeline["parts"]}) > 1:
            found.append(timeline_figure(stage, timeline))
    if ways := _ways(summary):
        found.append(waterfall_figure(ways))
    if variants is not None and len(variants["variants"]) > 1:
        found.append(variants_time_figure(summary))
    return found


def timeline_figure(stage: str, timeline: Summary) -> Figure:
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
    words = "Share of the requested units that were in the feature store, in each interval."
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
    return Figure(title=title, svg=svg, words=words)


def _ways(summary: Summary) -> list[Bar]:
    """Return milliseconds per answer by stage, uncached and from the store."""
    bars = []
    for name, way in (("plain transformers", "uncached"), ("from the store", "evaluation")):
        stage = summary[way]
        if stage is not None and stage["stage_seconds_per_answer"]:
            parts = tuple(
                Part(name=part, value=1000 * seconds)
                for part, seconds in stage["stage_seconds_per_answer"].items()
            )
            bars.append(Bar(name=name, parts=parts))
    return bars


def waterfall_figure(ways: Sequence[Bar]) -> Figure:
    """Draw where the time of an answer goes, stage after stage."""
    title = "Where the time of an answer goes"
    svg = waterfall(ways, x=Axis(title="milliseconds of worker time per answer"), title=title)
    return Figure(title=title, svg=svg, words="Model loading is left out.")


def variants_time_figure(summary: Summary) -> Figure:
    """Draw the worker time of precompute, of what caches share, and of what each takes itself."""
    bars = []
    if summary["precompute"] is not None:
        bars.append(_bar("precompute, once for all", summary["precompute"]["seconds"]))
    names = Names.of(summary)
    for title, one in summary["variants"]["weights"].items():
        caches = {v: some for v, some in variants_in(summary).items() if v.weights == title}
        stages = one["shared_stages"]
        if len(caches) < 2:  # then nothing is shared
            stages = []
        else:
            shared = {stage: one["seconds"][stage] for stage in stages}
            count = human_count(len(caches), "cache")
            bars.append(_bar(f"{names.weights(title)}: shared by {count}", shared))
        bars += [
            _bar(names.variant(variant), own_seconds(about, stages))
            for variant, about in caches.items()
        ]
    title = "Worker time by variant"
    words = (
        "What all caches of the same weights share has a bar of its own; the others are what each "
        "takes beyond that."
    )
    if len(bars) > MOST_BARS:
        words += f" The first {MOST_BARS} bars of {len(bars)}."
    svg = stacked_bars(bars[:MOST_BARS], x=Axis(title="seconds of worker time"), title=title)
    return Figure(title=title, svg=svg, words=words)


def _bar(name: str, seconds: Mapping[str, float]) -> Bar:
    parts = (Part(name=k, value=v) for k, v in seconds.items() if k not in LOADING)
    return Bar(name=name, parts=tuple(parts))
