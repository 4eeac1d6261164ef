"""A run's tables for papers, in LaTeX with booktabs: pure text, whatever was measured."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from encodeonce.harness.report.cells import Cells, benchmarks_in, cells_of, variant_named
from encodeonce.harness.report.figures.curves import quality
from encodeonce.harness.report.matrix import kept_words, matrix_table
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.numbers import points_in
from encodeonce.harness.report.visible import on_one_line
from encodeonce.harness.results.summary import Summary

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "Δ": r"$\Delta$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "−": r"$-$",
    "…": r"\ldots{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}
_HEAD = r"% Needs \usepackage{booktabs,textcomp} and, where names have other letters, their font."


@dataclass(frozen=True, slots=True, kw_only=True)
class Tabular:
    """A table before it is written: rows in groups, each with a heading that may be empty."""

    name: str
    """Words for its file's name and its label."""
    caption: str
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]


def tables(summary: Summary) -> Iterator[Tabular]:
    """Yield a run's tables: scores; with several variants also these, and weights by caches."""
    if summary["evaluation"] is None:
        return
    yield _answers(summary)
    if len(summary["variants"]["variants"]) < 2:
        return
    for benchmark in benchmarks_in(summary):
        cells = cells_of(summary, benchmark)
        yield _variants(summary, benchmark, cells)
        if (table := matrix_table(cells, Names.of(summary))) is not None:
            yield Tabular(
                name=f"{benchmark}: weights and caches",
                caption=f"{benchmark}: {table.columns[0]}, by KV cache (rows) and weights.",
                columns=("KV cache", *table.columns[1:]),
                groups=(("", table.rows),),
            )


def latex(table: Tabular) -> str:
    r"""Return the content of a .tex file: a ``table`` to be read by ``\input``."""
    width = len(table.columns)
    lines = [
        _HEAD,
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escaped(table.caption)}}}",
        rf"  \label{{tab:{_label(table.name)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"    \toprule",
        f"    {_row(table.columns)}",
        r"    \midrule",
    ]
    for number, (heading, rows) in enumerate(table.groups):
        lines += [r"    \addlinespace"] if number else []
        if heading:
            words = rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escaped(heading)}}}}}"
            lines.append(rf"    {words} \\")
        lines += [f"    {_row(row)}" for row in rows]
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""Return text that LaTeX prints as it is.

    >>> escaped("50 % of a_b")
    '50~\\% of a\\_b'
    """
    plain = "".join(_SPECIAL.get(letter, letter) for letter in on_one_line(text))
    return plain.replace(r" \%", r"~\%")


def _row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(_cell(cell) for cell in cells)} \\"


def _cell(text: str) -> str:
    # A hyphen before a digit is a minus, which is longer.
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped(text.strip()))


def _label(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()


def _answers(summary: Summary) -> Tabular:
    groups = []
    for name, result in summary["evaluation"]["benchmarks"].items():
        parts = {"all": result, **result["by_tag"]}
        rows = tuple(
            (tag, _estimate(part["accuracy"]), str(part["num_scored"]))
            for tag, part in parts.items()
        )
        groups.append((f"{name}, {result['measure']}", rows))
    return Tabular(
        name="scores",
        caption="Scores, %, with clustered 95 % intervals.",
        columns=("", "score, %", "scored"),
        groups=tuple(groups),
    )


def _variants(summary: Summary, benchmark: str, cells: Cells) -> Tabular:
    names = Names.of(summary)
    reference = variant_named(summary, summary["variants"]["reference"])
    with_model = len({variant.model for variant in cells}) > 1
    groups: dict[str, list[tuple[str, ...]]] = {}
    for variant, cell in cells.items():
        groups.setdefault(names.heading(variant, with_model), []).append(
            (
                names.parts(variant)[0],
                _quality(cell),
                points_in(cell["against"].get(reference.name)),
                kept_words(variant, cells),
            )
        )
    first = next(filter(None, map(quality, cells.values())), None)
    return Tabular(
        name=f"{benchmark}: variants",
        caption=f"{benchmark}: quality of every variant, its paired difference to "
        f"{names.variant(reference)} with clustered 95 % intervals, and the measured share of the "
        "bytes of the prompt's keys and values that it keeps.",
        columns=("setting", first.measure if first else "score", "Δ, points", "kept"),
        groups=tuple((heading, tuple(rows)) for heading, rows in groups.items()),
    )


def _quality(cell: Summary) -> str:
    found = quality(cell)
    if cell["accuracy"] is not None:
        return _estimate(cell["accuracy"])
    return "-" if found is None else found.text


def _estimate(estimate: Summary | None) -> str:
    if estimate is None:
        return "-"
    mean, low, high = (100 * estimate[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"
