"""The scores of two runs side by side: the benchmarks' own, and those of judges."""

from collections.abc import Iterator, Sequence

from encodeonce.harness.report.numbers import human_count, interval_in, percent, points
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.results.summary import Summary

_FIGURES = ("A", "B", "B - A", "95 % interval", "flips", "p", "samples")


def score_section(comparison: Summary) -> Section:
    """Return the benchmarks' own scores, with what else is to be said of the samples."""
    return Section(
        title="Scores on the samples that both answered",
        table=Table(
            columns=("benchmark", *_FIGURES),
            rows=tuple(_score_row(comparison, cell) for cell in comparison["cells"]),
        ),
        sentences=(
            "Differences are in percentage points. The interval is that of the paired difference, "
            "clustered, as questions about one video are not independent. Flips are the samples "
            "that B scores lower (-) and higher (+). p is from the exact McNemar test, which "
            "assumes independent questions: where the two disagree, trust the interval.",
        ),
        bullets=tuple(
            f"{cell_name(comparison, cell)}: {words}"
            for cell in comparison["cells"]
            for words in _remarks(cell)
        ),
    )


def judged_sections(comparison: Summary) -> Iterator[Section]:
    """Yield what judges say of both, if any judged both."""
    rows = tuple(
        (judged_name(comparison, cell, one), *_figures(one))
        for cell in comparison["cells"]
        for one in cell["judged"]
    )
    if rows:
        yield Section(
            title="Scores by a judge, on the samples that it judged in both",
            table=Table(columns=("benchmark, judge", *_FIGURES), rows=rows),
            sentences=(
                "The same model, prompt and settings graded A and B. All else is as above; p is "
                "from the sign test.",
            ),
        )


def judged_name(comparison: Summary, cell: Summary, one: Summary) -> str:
    """Return the benchmark's name with the judge's: its model, and its digest's beginning."""
    judge = one["judge"]
    return f"{cell_name(comparison, cell)}, {judge['model']} ({judge['sha256'][:8]})"


def cell_name(comparison: Summary, cell: Summary) -> str:
    """Return the benchmark's name, with the variant where several are compared."""
    variants = {(one["first_variant"], one["second_variant"]) for one in comparison["cells"]}
    return cell["benchmark"] if len(variants) == 1 else f"{cell['benchmark']}, {variants_of(cell)}"


def variants_of(cell: Summary) -> str:
    """Return the variant compared, or both."""
    first, second = cell["first_variant"], cell["second_variant"]
    return first if first == second else f"{first} to {second}"


def _score_row(comparison: Summary, cell: Summary) -> tuple[str, ...]:
    return (cell_name(comparison, cell), *_figures(cell))


def _figures(found: Summary) -> tuple[str, ...]:
    """Return what the columns `_FIGURES` show of scores and their difference."""
    difference = found["difference"]
    if difference is None:
        return (*("-" for _ in range(6)), "0")
    return (
        *(percent(score["mean"], 1) for score in found["scores"]),
        points(difference["mean"]),
        interval_in(difference),
        f"-{difference['num_worse']} +{difference['num_better']}",
        f"{difference['mcnemar_p']:.2g}",
        str(difference["num_samples"]),
    )


def _remarks(cell: Summary) -> Iterator[str]:
    """Say which samples the differences are not about, and what else was measured."""
    for words, samples in (
        ("only in A", cell["only_in_first"]),
        ("only in B", cell["only_in_second"]),
        ("not compared, as their question or target differs", cell["other_question"]),
    ):
        if samples:
            yield f"{words}: {human_count(len(samples), 'sample')} ({_some(samples)})"
    for letter, num_errors in zip("AB", cell["num_errors"], strict=True):
        if num_errors:
            yield f"without an answer in {letter}: {human_count(num_errors, 'sample')}"
    if num_unscored := cell["num_answered"] - cell["num_scored"]:
        yield f"answered in both, but not scored in both: {human_count(num_unscored, 'sample')}"
    if cell["nll"] is not None:
        first, second = (side["per_token"] for side in cell["nll"])
        tokens = human_count(cell["nll"][0]["num_tokens"], "token")
        yield (
            f"negative log-likelihood of the reference texts: A {first:.4f}, B {second:.4f} per "
            f"token ({second - first:+.4f}; {tokens})"
        )
    if cell["num_with_text"]:
        yield f"texts identical: {cell['num_same_text']} of {cell['num_with_text']}"


def _some(samples: Sequence[str]) -> str:
    return ", ".join(samples[:3]) + (", …" if len(samples) > 3 else "")


def difference_words(found: Summary, test: str = "McNemar") -> str:
    """Return a difference in words, with its interval and the p of a test."""
    difference = found["difference"]
    if difference is None:
        return "no sample was scored in both"
    holds_zero = difference["low"] <= 0 <= difference["high"]
    return (
        f"B - A = {points(difference['mean'])} points (95 % interval {interval_in(difference)}"
        f"{', holds 0' if holds_zero else ''}; {difference['num_worse']} worse, "
        f"{difference['num_better']} better of {difference['num_samples']}; "
        f"{test} p {difference['mcnemar_p']:.2g})"
    )
