"""The judge's part of a report. Every mean stands beside how many verdicts it is of."""

from collections.abc import Iterator
from typing import Any

from encodeonce.harness.report.cells import variant_named
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.numbers import percent, points_in
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.report.tiles import Tile
from encodeonce.harness.results.summary import Summary

_COLUMNS = ("benchmark, variant, judge", "mean", "95 % interval", "judged", "difference")
"""The last where there are several variants."""
_CHARACTERS = 8
"""Of a digest, as shown."""


def judged_sections(summary: Summary) -> list[Section]:
    """Return the verdicts, and the published figures that are made of them, if there are any."""
    parts = summary["judged"]
    if not parts:
        return []
    figures = tuple(
        (f"{_name(summary, part)}: {name}", f"{value:.1f}", _count(part))
        for part in parts
        for name, value in part["figures"].items()
    )
    width = len(_COLUMNS) if any(part["difference"] for part in parts) else len(_COLUMNS) - 1
    found = [
        Section(
            title="Judged answers",
            table=Table(
                columns=_COLUMNS[:width],
                rows=tuple(_row(summary, part)[:width] for part in parts),
            ),
            sentences=(*_sentences(parts), *_about_differences(summary, parts)),
            bullets=tuple(_problem(part, error) for part in parts for error in part["errors"]),
        )
    ]
    if figures:
        table = Table(columns=("score", "value", "judged"), rows=figures)
        found.append(Section(title="Judged scores, as the benchmarks define them", table=table))
    return found


def judged_headline(summary: Summary) -> list[str]:
    """Return a line for each benchmark that a judge has judged, under the variant shown."""
    return [
        f"{'judged':<12} {_quoted(part)} on {part['benchmark']}, by {part['judge']['model']} "
        f"({_count(part)} judged)"
        for part in _shown(summary)
    ]


def judged_tiles(summary: Summary) -> Iterator[Tile]:
    """Yield a key figure for each benchmark that a judge has judged, under the variant shown."""
    for part in _shown(summary):
        name, _, value = _quoted(part).rpartition(": ")
        yield Tile(
            label=f"{part['benchmark']}: judged, {name}",
            value=value,
            words=f"by {part['judge']['model']}; {_count(part)} judged",
            is_bad=part["num_judged"] < part["num_answers"],
        )


def _shown(summary: Summary) -> Iterator[dict[str, Any]]:
    """Yield the latest judge's part about each benchmark, under the variant shown."""
    shown = summary["evaluation"]["variant"] if summary["evaluation"] else None
    seen = set()
    for part in summary["judged"]:
        if part["variant"] == shown and part["mean"] and part["benchmark"] not in seen:
            seen.add(part["benchmark"])
            yield part


def _quoted(part: dict[str, Any]) -> str:
    """Return the figure that people quote, with its name."""
    name, value = next(iter(part["figures"].items()))
    return f"{name}: {value:.1f}"


def _sentences(parts: list[dict[str, Any]]) -> tuple[str, ...]:
    missing = sum(part["num_answers"] - part["num_judged"] for part in parts)
    read, written = (sum(part[f"{way}_tokens"] for part in parts) for way in ("input", "output"))
    used = sum(part["num_requests"] for part in parts)
    partial = (
        (f"{missing} answers have no verdict: means are of the others, and say how many.",)
        if missing
        else ()
    )
    return (
        "A language model graded these answers, by prompts of this project's own: the grades are "
        "not comparable to the digit with published ones, nor across judges.",
        *partial,
        f"{used} requests were sent; the judge read {read} tokens and wrote {written}.",
    )


def _about_differences(summary: Summary, parts: list[dict[str, Any]]) -> Iterator[str]:
    """Say what differences are to, where there are any."""
    if any(part["difference"] for part in parts):
        yield (
            f"Differences are paired, in points, to {summary['evaluation']['variant']} by the same "
            "judge, over the answers that it judged under both; 95 % intervals are clustered."
        )


def _row(summary: Summary, part: dict[str, Any]) -> tuple[str, ...]:
    name = f"{_name(summary, part)}: {part['measure']}"
    mean = part["mean"]
    if mean is None:
        return (name, "-", "-", _count(part), "-")
    interval = f"{percent(mean['low'], 1)} to {percent(mean['high'], 1)}"
    difference = points_in(part["difference"])
    return (name, percent(mean["mean"], 1), interval, _count(part), difference)


def _name(summary: Summary, part: dict[str, Any]) -> str:
    variant = Names.of(summary).variant(variant_named(summary, part["variant"]))
    judge = part["judge"]
    return f"{part['benchmark']}, {variant}, {judge['model']} ({judge['sha256'][:_CHARACTERS]})"


def _count(part: dict[str, Any]) -> str:
    return f"{part['num_judged']} of {part['num_answers']}"


def _problem(part: dict[str, Any], error: dict[str, Any]) -> str:
    samples = error["samples"]
    more = f" and {len(samples) - 3} more" if len(samples) > 3 else ""
    return (
        f"no verdict on {part['benchmark']}/{', '.join(samples[:3])}{more} ({part['variant']}): "
        f"{error['type']}: {error['message']}"
    )
