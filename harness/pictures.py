"""Pictures of a run's variants: quality against what is kept, and the matrix as a heat map."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from encodeonce.harness.charts import Axis, Point, Series, heat_map, line_chart, svg_file
from encodeonce.harness.page import Picture
from encodeonce.harness.summary import Summary
from encodeonce.models.kv.spec import FULL

FULL_NAME = "full cache"


def quality_pictures(
    benchmark: str, cells: Mapping[str, Summary], specs: Mapping[str, Any]
) -> Iterator[Picture]:
    """Yield a picture for each weight variant that has answers from compressed caches.

    Args:
        benchmark: its name.
        cells: what is known of each variant.
        specs: fields of the cache variants by title, as in run.json.
    """
    for weights in dict.fromkeys(cell["weights"] for cell in cells.values()):
        mine = {cell["kv"]: cell for cell in cells.values() if cell["weights"] == weights}
        curves = _curves(mine, specs)
        if not curves:
            continue
        is_scored = any(cell["accuracy"] is not None for cell in mine.values())
        measure = next(iter(mine.values()))["measure"] if is_scored else "perplexity"
        title = f"{benchmark}, weights {weights}: {measure} against bytes kept"
        drawn = line_chart(
            curves,
            x=Axis(title="kept of the prompt's keys and values, % of bytes", scale="log"),
            y=Axis(title=f"{measure}, %") if is_scored else Axis(title=measure, scale="log"),
            title=title,
        )
        file = f"quality-{_slug(benchmark)}-{_slug(weights)}.svg"
        yield Picture(file=file, title=title, svg=svg_file(drawn))


def matrix_picture(
    benchmark: str,
    cells: Mapping[str, Summary],
    weights: Sequence[str],
    caches: Sequence[str],
    texts: Sequence[Sequence[str]],
) -> Picture:
    """Return weights against caches, the darker the better; ``texts`` as [cache][weights]."""
    values = [[_goodness(cells.get(f"{one}/{kv}")) for one in weights] for kv in caches]
    title = f"{benchmark}: caches by weights, the darker the better"
    drawn = heat_map(caches, weights, values, texts, title=title)
    return Picture(file=f"matrix-{_slug(benchmark)}.svg", title=title, svg=svg_file(drawn))


def _curves(cells: Mapping[str, Summary], specs: Mapping[str, Any]) -> list[Series]:
    """Return a curve for each method, from its smallest budget to the full cache."""
    by_method: dict[str, list[Point]] = {}
    for title, cell in cells.items():
        point = _point(title, cell)
        if point is not None and title != FULL.title:
            by_method.setdefault(_method(title, specs.get(title)), []).append(point)
    full = _point(FULL.title, cells[FULL.title]) if FULL.title in cells else None
    if not by_method:
        return []
    ends = [Point(x=full.x, y=full.y, note=full.note)] if full is not None else []
    curves = [
        Series(name=name, points=(*sorted(some, key=lambda point: point.x), *ends))
        for name, some in by_method.items()
    ]
    return [*curves, Series(name=FULL_NAME, points=(full,))] if full is not None else curves


def _point(title: str, cell: Summary) -> Point | None:
    """Return where a variant stands; None where it was not measured."""
    size, accuracy, nll = cell["cache_size"], cell["accuracy"], cell["nll"]
    if size is None and title != FULL.title:
        return None
    x = 100.0 if size is None else 100 * size["keep"]
    if accuracy is not None:
        y, low, high = (100 * accuracy[name] for name in ("mean", "low", "high"))
        return Point(x=x, y=y, low=low, high=high, note=f"{title}: {y:.1f} % at {x:.1f} %")
    if nll is not None:
        y = nll["perplexity"]
        return Point(x=x, y=y, note=f"{title}: {y:.4f} at {x:.1f} %")
    return None


def _method(title: str, spec: Mapping[str, Any] | None) -> str:
    """Return what the points of one curve have in common: everything but the budget."""
    if spec is None:
        return title
    options = ",".join(f"{name}={value}" for name, value in sorted(spec["options"].items()))
    parts = (
        spec["method"],
        f"({options})" if options else "",
        f"+{spec['precision']}" if spec["precision"] != "model" else "",
        f":{spec['scope']}" if spec["scope"] != "question" else "",
    )
    return "".join(parts)


def _goodness(cell: Summary | None) -> float | None:
    if cell is None:
        return None
    if cell["accuracy"] is not None:
        return float(cell["accuracy"]["mean"])
    return -float(cell["nll"]["perplexity"]) if cell["nll"] is not None else None


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._@+-]+", "-", text)
