"""The report's sections on a run's variants; none where there is only one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from encodeonce.harness.report.cells import (
    Cells,
    benchmarks_in,
    cells_of,
    made_with_the_base,
    variant_named,
)
from encodeonce.harness.report.costs import time_section, weights_section
from encodeonce.harness.report.figures.curves import curves
from encodeonce.harness.report.figures.differences import differences
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.numbers import human_bytes, number, percent, points_in
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.variant import Variant

VARIANT = ("variant", "id")
"""Heads of the columns that identify a row's variant.

A name may be half as wide as a terminal, which has to show three columns of numbers beside it. So
there (`Table.narrow`) the id stands alone: it is shorter, and it is what the reader types next.
Files and pages have room for both.
"""


def variant_sections(summary: Summary) -> list[Section]:
    """Return the sections on a run's variants."""
    variants = summary["variants"]
    if len(variants["variants"]) < 2:
        return []
    found: list[Section] = []
    for benchmark in benchmarks_in(summary):
        names, cells = Names.of(summary), cells_of(summary, benchmark)
        found.append(_quality(summary, benchmark, cells))
        found.extend(_matrix(summary, benchmark, cells))
        found.extend(_closeness(benchmark, cells, names))
        found.extend(_held(benchmark, cells, names))
    return [*found, weights_section(summary), time_section(summary)]


def _quality(summary: Summary, benchmark: str, cells: Cells) -> Section:
    """Report every variant's quality, what it changed, and what its cache kept."""
    names = Names.of(summary)
    reference = variant_named(summary, summary["variants"]["reference"])
    forest = differences(summary, benchmark)
    return Section(
        title=f"Variants on {benchmark}",
        table=_scores(cells, reference, names) if is_scored(cells) else _perplexities(cells, names),
        figures=(
            *(() if forest is None else (forest.figure(),)),
            *(chart.figure() for chart in curves(summary, benchmark)),
        ),
        sentences=(
            "A variant's id is weights/cache, or weights+adapter/cache: `encodeonce compare "
            "FOLDER:ID FOLDER:ID` puts two side by side. 'Before the question' compresses the "
            "media's part of a prompt, once for all questions; 'after the question' compresses "
            "the whole prompt.",
            "Differences are paired, sample by sample, with clustered 95 % "
            "intervals; p is from the exact McNemar test, which assumes independent samples; "
            "of three adapters or more, p is Holm's for as many comparisons with their base. "
            "'Kept' is the measured share of the bytes of the prompt's keys and values. Tokens per "
            "second are those of the batch in which a variant's answers were decoded: a full "
            "cache's alone, those of all compressed caches together.",
            *made_with_the_base(summary, cells, names),
        ),
    )


def is_scored(cells: Cells) -> bool:
    """Return whether answers were scored, rather than the likelihood of texts measured."""
    return any(cell["accuracy"] is not None for cell in cells.values())


def _scores(cells: Cells, reference: Variant, names: Names) -> Table:
    is_own_shown = len({variant.model for variant in cells}) > 1
    has_adapters = any(variant.adapter is not None for variant in cells)
    rows = []
    for variant, cell in cells.items():
        against = cell["against"]
        own = (points_in(against.get(variant.own_full.name)),) if is_own_shown else ()
        bare = replace(variant, adapter=None).name
        if has_adapters:
            own = (*own, _adapted(against.get(bare)) if variant.adapter is not None else "-")
        rows.append(
            (
                *(names.variant(variant), variant.name),
                _estimate(cell["accuracy"]),
                points_in(against.get(reference.name)),
                _flips(against.get(reference.name)),
                *own,
                *_size(variant, cells),
                number(cell["decode_tokens_per_s"], ".0f"),
            )
        )
    columns = (
        *VARIANT,
        f"{next(iter(cells.values()))['measure']}, %",
        f"Δ to {names.variant(reference)}, points",
        "worse / better (p)",
        *(("Δ to its own full cache, points",) if is_own_shown else ()),
        *(("Δ to the same without the adapter, points",) if has_adapters else ()),
        "kept",
        "KV a question",
        "tokens/s",
    )
    return _table(columns, rows)


def _perplexities(cells: Cells, names: Names) -> Table:
    rows = []
    for variant, cell in cells.items():
        nll = cell["nll"] or {}
        rows.append(
            (
                *(names.variant(variant), variant.name),
                number(nll.get("perplexity"), ".4f"),
                number(nll.get("perplexity_after_first"), ".4f"),
                number(nll.get("perplexity_legacy_bf16"), ".5g"),
                number(nll.get("per_token"), ".4f"),
                number(nll.get("num_tokens"), "d"),
                *_size(variant, cells),
            )
        )
    columns = (
        *VARIANT,
        "perplexity",
        "after first token",
        "legacy, bf16",
        "NLL per token",
        "tokens",
        "kept",
        "KV a question",
    )
    return _table(columns, rows)


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """Return a table of variants; in a terminal id, quality, what it is compared with, and size."""
    return Table(
        columns=columns,
        rows=tuple(rows),
        num_words=len(VARIANT),
        narrow=(1, 2, 3, columns.index("kept")),
    )


def _estimate(estimate: Summary | None) -> str:
    if estimate is None:
        return "-"
    mean, low, high = (
        percent(estimate[name], 1).removesuffix(" %") for name in ("mean", "low", "high")
    )
    return f"{mean} ({low} to {high})"


def _adapted(difference: Summary | None) -> str:
    """Return what an adapter changes, and how likely chance does as much."""
    if difference is None:
        return "-"
    corrected = difference.get("mcnemar_p_holm")
    words = f"p {difference['mcnemar_p']:.2g}" if corrected is None else f"Holm p {corrected:.2g}"
    return f"{points_in(difference)}; {words}"


def _flips(difference: Summary | None) -> str:
    if difference is None:
        return "-"
    changed = f"{difference['num_worse']} / {difference['num_better']}"
    return f"{changed} ({difference['mcnemar_p']:.2g})"


def kept_words(variant: Variant, cells: Cells) -> str:
    """Return the share of the prompt's keys and values that a variant keeps."""
    return _size(variant, cells)[0]


def _size(variant: Variant, cells: Cells) -> tuple[str, str]:
    """Return the kept fraction, and the bytes of a question's prompt."""
    if (size := cells[variant]["kv"]) is not None:
        kept = size["kept_bytes"] / size["num_answers"]
        return percent(size["keep"], 1), human_bytes(round(kept))
    compressed = (one["kv"] for one in cells.values() if one["kv"] is not None)
    if not variant.is_full or (size := next(compressed, None)) is None:
        return "-", "-"
    return percent(1.0, 1), human_bytes(round(size["full_bytes"] / size["num_answers"]))


def _matrix(summary: Summary, benchmark: str, cells: Cells) -> Iterator[Section]:
    """Show weights against caches, where both vary."""
    if (table := matrix_table(cells, Names.of(summary))) is not None:
        yield Section(title=f"Weights and caches on {benchmark}", table=table)


def matrix_table(cells: Cells, names: Names) -> Table | None:
    """Return a table of weights (columns) and caches (rows); None unless both vary."""
    models = list({variant.model: variant for variant in cells}.values())
    caches = list(dict.fromkeys(variant.kv for variant in cells))
    if len(models) < 2 or len(caches) < 2:
        return None
    rows = tuple(
        (names.kv(kv), *(_short(cells.get(replace(one, kv=kv))) for one in models)) for kv in caches
    )
    what = "score, %" if is_scored(cells) else "perplexity"
    return Table(columns=(what, *(names.model(one) for one in models)), rows=rows)


def _short(cell: Summary | None) -> str:
    if cell is None:
        return "-"
    if cell["accuracy"] is not None:
        return percent(cell["accuracy"]["mean"], 1).removesuffix(" %")
    return number((cell["nll"] or {}).get("perplexity"), ".3f")


def _closeness(benchmark: str, cells: Cells, names: Names) -> Iterator[Section]:
    """Compare the texts and, where it was asked for, each teacher-forced step."""
    rows = []
    for variant, cell in cells.items():
        if (found := cell["fidelity"]) is not None:
            rows.append(
                (
                    names.variant(variant),
                    percent(found["exact_match"], 1),
                    number(found["rouge_l"], ".3f"),
                    number(found["rouge_l_legacy"], ".3f"),
                    number(found["first_divergence"], ".1f"),
                    percent(found["repetition_rate"], 1),
                    number(found["length_ratio"], ".2f"),
                    percent(found["token_agreement"], 1),
                    number(found["mean_kl"], ".2g"),
                )
            )
    if not rows:
        return
    columns = (
        "variant",
        "equal",
        "ROUGE-L",
        "ROUGE-L (legacy)",
        "diverges at token",
        "repeated",
        "length",
        "agreement",
        "KL, nats",
    )
    yield Section(
        title=f"Closeness to the full cache on {benchmark}",
        is_detail=True,
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            "Texts are compared with those of the full cache under the same weights, and a full "
            "cache's with the reference's. 'diverges at token': tokens before the first "
            "difference, mean over answers that differ. 'repeated': 4-grams that occur earlier in "
            "the answer. 'length': tokens, relative to the reference's. 'agreement' of likeliest "
            "tokens, and KL divergence: the compressed cache continuing the full cache's answer, "
            "teacher-forced. ROUGE-L (legacy) is the set-based value of the PyPI package 'rouge'.",
        ),
    )


def _held(benchmark: str, cells: Cells, names: Names) -> Iterator[Section]:
    """Report what the compressed caches kept, where in the prompt and in which layers."""
    rows = tuple(
        (
            names.variant(variant),
            percent(size["keep_mean"], 1),
            percent(size["keep"], 1),
            percent(size["keep_visual"], 1),
            percent(size["keep_text"], 1),
            percent(size["keep_end"], 1),
            f"{percent(min(size['keep_by_layer']), 1)} to {percent(max(size['keep_by_layer']), 1)}",
        )
        for variant, cell in cells.items()
        if (size := cell["kv"]) is not None
    )
    if not rows:
        return
    columns = ("variant", "per question", "total", "visual", "text", "at the end", "by layer")
    yield Section(
        title=f"What the caches kept on {benchmark}",
        is_detail=True,
        table=Table(columns=columns, rows=rows),
        sentences=(
            "Bytes, relative to the full cache's. 'per question': mean of the questions' ratios; "
            "'total' and its parts: ratios of the sums. 'at the end': prompt and answer together, "
            "once the answer has ended. 'by layer': lowest to highest.",
        ),
    )
