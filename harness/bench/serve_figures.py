"""Figures of workloads, from their summary alone."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from encodeonce.harness.report.charts.plots import (
    Axis,
    Bar,
    Part,
    Point,
    Series,
    line_chart,
    stacked_bars,
)
from encodeonce.harness.report.numbers import human_bytes
from encodeonce.harness.report.section import Figure
from encodeonce.harness.serving.engine import STAGES
from encodeonce.harness.serving.summary import Summary

LOADS = {"rate": "requests a second", "concurrency": "users", "speed": "speed of the trace"}
LOG_FROM = 20.0
"""Latencies that differ by more than this factor are drawn on a logarithmic axis."""


def all_figures(summary: Summary) -> list[Figure]:
    """Return the figures, the most interesting first; none of what has a single point."""
    names = [one["name"] for one in summary["experiments"] if one["not_comparable"] is None]
    caps = sorted({cell["kv_bytes"] for cell in summary["cells"]})
    found = [*_accuracy_against_goodput(summary, names, caps)]
    for cap in caps:
        cells = [
            cell
            for cell in summary["cells"]
            if cell["kv_bytes"] == cap and cell["experiment"] in names
        ]
        found += _by_load(summary, names, cells, cap)
        found += _stages(summary, names, cells, cap)
        found += _over_time(names, cells, cap)
    found += _goodput_by_cap(summary, names, caps)
    return found


def _by_load(
    summary: Summary, names: Sequence[str], cells: Sequence[Summary], cap: int
) -> Iterator[Figure]:
    """Yield attainment and latencies against the load."""
    if len({cell["load"] for cell in cells}) < 2:
        return
    x = Axis(title=LOADS[summary["axis"]])
    attain = 100 * summary["slo"]["attain"]
    title = f"Within the objectives, {human_bytes(cap)}"
    series = _series(names, cells, lambda cell: 100 * cell["attainment"], "%")
    yield Figure(
        title=title,
        svg=line_chart(
            series, x=x, y=Axis(title="requests, %", low=0, high=100), title=title, levels=(attain,)
        ),
        words=f"The line is at the {attain:g} % that are required.",
    )
    for key, words, scale, unit in (
        ("ttft_s", "Time to first token", 1.0, "s"),
        ("itl_s", "Time between tokens", 1e3, "ms"),
    ):
        for which in ("p50", "p99"):
            value = partial(_latency, key, which, scale)
            series = _series(names, cells, value, unit)
            title = f"{words}, {which}, {human_bytes(cap)}"
            y = _latency_axis(unit, series)
            if y is not None:
                yield Figure(
                    title=title,
                    svg=line_chart(series, x=x, y=y, title=title),
                    words="Where a queue grew until the end, it would be longer had the load "
                    "gone on.",
                )


def _latency(key: str, which: str, scale: float, cell: Summary) -> float:
    found: float = scale * cell[key][which] if cell[key] else 0.0
    return found


def _series(
    names: Sequence[str], cells: Sequence[Summary], value: Callable[[Summary], float], unit: str
) -> list[Series]:
    found = []
    for name in names:
        mine = sorted(
            (cell for cell in cells if cell["experiment"] == name), key=lambda cell: cell["load"]
        )
        points = tuple(
            Point(
                x=cell["load"],
                y=value(cell),
                note=f"{value(cell):.4g} {unit} at {cell['load']:g}"
                + (", queue growing" if cell["saturated"] else ""),
            )
            for cell in mine
        )
        if points:
            found.append(Series(name=name, points=points))
    return found


def _latency_axis(unit: str, series: Sequence[Series]) -> Axis | None:
    """Return the axis of a latency; None where there is nothing to draw."""
    values = [point.y for one in series for point in one.points]
    if not any(values):
        return None
    is_wide = min(values) > 0 and max(values) / min(values) > LOG_FROM
    return Axis(title=unit, scale="log") if is_wide else Axis(title=unit, low=0)


def _accuracy_against_goodput(
    summary: Summary, names: Sequence[str], caps: Sequence[int]
) -> Iterator[Figure]:
    quality = {one["name"]: one["quality"]["accuracy"] for one in summary["experiments"]}
    for cap in caps:
        series = []
        for one in summary["best"]:
            accuracy = quality[one["experiment"]]
            if one["kv_bytes"] != cap or one["experiment"] not in names or accuracy is None:
                continue
            point = Point(
                x=one["most_goodput"],
                y=100 * accuracy["mean"],
                low=100 * accuracy["low"],
                high=100 * accuracy["high"],
                note=f"{100 * accuracy['mean']:.1f} % at {one['most_goodput']:.2f} a second",
            )
            series.append(Series(name=one["experiment"], points=(point,)))
        title = f"Accuracy against goodput, {human_bytes(cap)}"
        if len(series) > 1:
            yield Figure(
                title=title,
                svg=line_chart(
                    series,
                    x=Axis(title="most requests a second within the objectives", low=0),
                    y=Axis(title="accuracy, %"),
                    title=title,
                ),
                words="Up and to the right is better. Whiskers are 95 % intervals.",
            )


def _goodput_by_cap(
    summary: Summary, names: Sequence[str], caps: Sequence[int]
) -> Iterator[Figure]:
    if len(caps) < 2:
        return
    series = []
    for name in names:
        mine = [one for one in summary["best"] if one["experiment"] == name]
        points = tuple(
            Point(
                x=one["kv_bytes"] / 2**20,
                y=one["most_goodput"],
                note=f"{one['most_goodput']:.2f} a second",
            )
            for one in mine
        )
        series.append(Series(name=name, points=points))
    title = "Goodput against KV memory"
    yield Figure(
        title=title,
        svg=line_chart(
            series,
            x=Axis(title="cap on keys and values, MiB", scale="log"),
            y=Axis(title="most requests a second within the objectives", low=0),
            title=title,
        ),
        words="The most at any of the loads tried.",
    )


def _stages(
    summary: Summary, names: Sequence[str], cells: Sequence[Summary], cap: int
) -> Iterator[Figure]:
    """Draw where the time of a request goes, at the heaviest load that the first one bears."""
    borne = [
        one["load"]
        for one in summary["best"]
        if one["kv_bytes"] == cap and one["experiment"] == names[0] and one["load"] is not None
    ]
    if not names or not cells:
        return
    load = borne[0] if borne else min(cell["load"] for cell in cells)
    bars = []
    for name in names:
        for cell in cells:
            if (cell["experiment"], cell["load"]) != (name, load):
                continue
            queue = sum(cell["queue_s"].values())
            parts = [Part(name="queue", value=queue)]
            parts += [
                Part(name=stage.replace("_", " "), value=cell["stage_s"][stage])
                for stage in STAGES
                if stage in cell["stage_s"]
            ]
            bars.append(Bar(name=name, parts=tuple(parts)))
    title = f"Seconds of a request by stage, {human_bytes(cap)}"
    if bars:
        yield Figure(
            title=title,
            svg=stacked_bars(bars, x=Axis(title="seconds, mean"), title=title),
            words=f"At {load:g} {LOADS[summary['axis']]}. Waiting for other requests' actions is "
            "queueing.",
        )


def _over_time(names: Sequence[str], cells: Sequence[Summary], cap: int) -> Iterator[Figure]:
    """Draw the state over time under the heaviest load."""
    heaviest = max((cell["load"] for cell in cells), default=0.0)
    for key, words, unit, scale in (
        ("waiting", "Requests that wait", "requests", 1.0),
        ("running", "Requests that run", "requests", 1.0),
        ("reserved_kv_bytes", "Reserved KV memory", "MiB", 2.0**20),
    ):
        series = []
        for name in names:
            for cell in cells:
                if (cell["experiment"], cell["load"]) != (name, heaviest):
                    continue
                state = cell["over_time"]
                points = tuple(
                    Point(x=at, y=value / scale)
                    for at, value in zip(state["time_s"], state[key], strict=True)
                )
                if len(points) > 1:
                    series.append(Series(name=name, points=points, is_marked=False))
        title = f"{words} over time, {human_bytes(cap)}"
        if series:
            yield Figure(
                title=title,
                svg=line_chart(
                    series, x=Axis(title="seconds"), y=Axis(title=unit, low=0), title=title
                ),
                words=f"At a load of {heaviest:g}.",
            )
