"""The readable comparison of two runs: sections of text and tables, and a figure.

Variants appear by id here, not by display name (`names`): ids are what the user has just typed, and
the two runs need not mean the same by a title.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from encodeonce.harness.report.charts.forest import Difference, forest
from encodeonce.harness.report.charts.svg import Axis
from encodeonce.harness.report.compare_scores import (
    cell_name,
    difference_words,
    judged_name,
    judged_sections,
    score_section,
    variants_of,
)
from encodeonce.harness.report.numbers import percent
from encodeonce.harness.report.options import answer_words, target_words
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.report.visible import visible
from encodeonce.harness.results.summary import Summary

LONGEST_TEXT = 60
"""Characters of a question or an answer that a table shows."""


def compare_sections(comparison: Summary, *, most_flips: int | None = None) -> list[Section]:
    """Return the report's sections.

    Args:
        comparison: `compare`'s result.
        most_flips: most flips shown per benchmark and direction; None shows all.
    """
    found = [
        _what(comparison),
        _changed(comparison),
        score_section(comparison),
        *judged_sections(comparison),
    ]
    for cell in comparison["cells"]:
        found.extend(_flips(cell, "worse", most_flips))
        found.extend(_flips(cell, "better", most_flips))
    return [*found, _time(comparison), _hits(comparison)]


def compare_headline(comparison: Summary) -> list[str]:
    """Return a line for each benchmark: the difference and whether it may be chance."""
    cells = comparison["cells"]
    return [
        *(f"{cell_name(comparison, cell)}: {difference_words(cell)}" for cell in cells),
        *(
            f"{judged_name(comparison, cell, one)}: {difference_words(one, 'sign test')}"
            for cell in cells
            for one in cell["judged"]
        ),
    ]


def compare_figure(comparison: Summary) -> str:
    """Return the differences with their intervals as SVG, a judge's below the benchmark's own."""
    named = [
        pair
        for cell in comparison["cells"]
        for pair in (
            (cell_name(comparison, cell), cell["difference"]),
            *((judged_name(comparison, cell, one), one["difference"]) for one in cell["judged"]),
        )
    ]
    differences = [
        Difference(
            name=name,
            mean=100 * difference["mean"],
            low=100 * difference["low"],
            high=100 * difference["high"],
        )
        for name, difference in named
        if difference is not None
    ]
    captions = [f"{letter}: {side['name']}" for letter, side in _sides(comparison)]
    return forest(
        differences,
        x=Axis(title="score of B minus score of A, points"),
        title=" against ".join(captions),
        captions=captions,
    )


def _what(comparison: Summary) -> Section:
    rows = [
        (letter, side["name"], side["fingerprint"][:16], str(side["num_records"]))
        for letter, side in _sides(comparison)
    ]
    bullets = [
        f"only in {letter}: the variants {', '.join(names)}"
        for letter, names in (
            ("A", comparison["variants_only_in_first"]),
            ("B", comparison["variants_only_in_second"]),
        )
        if names
    ]
    return Section(
        title="Compared",
        table=Table(columns=("", "run", "fingerprint", "records"), rows=tuple(rows), num_words=3),
        bullets=tuple(bullets),
    )


def _sides(comparison: Summary) -> tuple[tuple[str, Summary], ...]:
    return (("A", comparison["first"]), ("B", comparison["second"]))


def _changed(comparison: Summary) -> Section:
    sentences = []
    if not comparison["changed"]:
        sentences.append("Nothing that could change an answer.")
    if others := comparison["changed_without_effect_on_answers"]:
        names = ", ".join(change["field"] for change in others)
        sentences.append(f"Also different, without effect on answers: {names}.")
    rows = tuple(
        (change["field"], *(_value(value) for value in change["values"]))
        for change in comparison["changed"]
    )
    return Section(
        title="What changed",
        table=Table(columns=("field", "A", "B"), rows=rows, num_words=3) if rows else None,
        sentences=tuple(sentences),
    )


def _value(value: Any) -> str:
    text = "-" if value is None else str(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return f"{text[:16]}…" if is_digest else text


def _flips(cell: Summary, which: str, most: int | None) -> list[Section]:
    flips = cell[which]
    if not flips:
        return []
    shown = flips[:most]
    hidden = len(flips) - len(shown)
    more = (f"{hidden} more; --output FILE.md or FILE.json lists all of them.",) if hidden else ()
    rows = tuple(
        (
            flip["sample"],
            *_right_and_answers(flip),
            " to ".join(f"{score:.3g}" for score in flip["scores"]),
            _short(flip["question"]),
        )
        for flip in shown
    )
    return [
        Section(
            title=f"{which.capitalize()} in B: {cell['benchmark']}, {variants_of(cell)}",
            table=Table(
                columns=("sample", "right", "A", "B", "score", "question"),
                rows=rows,
                num_words=6,
            ),
            sentences=more,
        )
    ]


def _right_and_answers(flip: Summary) -> Iterator[str]:
    choices = [_short(choice) for choice in flip["choices"]]
    yield target_words(_short(flip["target"]), choices)
    for text, extracted in zip(flip["texts"], flip["extracted"], strict=True):
        words = _short(text)
        yield words if text is None else answer_words(words, extracted, choices)


def _short(text: str | None) -> str:
    """Return a text as one short line: it may be anything a model wrote."""
    if text is None:
        return "-"
    line = visible(" ".join(text.split()))
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"


def _time(comparison: Summary) -> Section:
    stages = comparison["stages"]
    rows = tuple(
        (
            f"{stage['stage']} (shared)" if stage["is_shared"] else stage["stage"],
            *("-" if s is None else f"{1000 * s:.1f}" for s in stage["seconds"]),
            "-" if stage["ratio"] is None else f"{stage['ratio']:.2f}",
        )
        for stage in stages
    )
    sentences = ["Milliseconds of worker time per answer on the benchmarks that both have."]
    if shared := [stage["stage"] for stage in stages if stage["is_shared"]]:
        sentences.append(
            f"{_and(shared)} served several variants of a run at once, and count in full for each, "
            "as if it had been answered alone. 'own' is what a variant takes beyond that. A cache "
            "compressed before the question (':media') reads the question in 'generate'."
        )
    return Section(
        title="Time per answer",
        table=Table(columns=("stage", "A, ms", "B, ms", "A / B"), rows=rows),
        sentences=tuple(sentences),
    )


def _and(stages: Sequence[str]) -> str:
    *most, last = [f"'{stage}'" for stage in stages]
    return f"{', '.join(most)} and {last}" if most else f"The work of {last}"


def _hits(comparison: Summary) -> Section:
    rows = tuple(
        (stage, *(percent(rate) for rate in rates))
        for stage, rates in comparison["hit_rates"].items()
    )
    return Section(
        title="Hit rate of the feature store",
        table=Table(columns=("stage", "A", "B"), rows=rows),
    )
