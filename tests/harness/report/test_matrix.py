"""A report's sections on several variants, from records made by hand."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.report.matrix import variant_sections
from encodeonce.harness.report.section import file_of
from encodeonce.harness.results.matrix import summarize_variants
from encodeonce.harness.run.meanings import describe_variants
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.variant import Variant
from encodeonce.models.answer import Fidelity, LoadedWeights
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import NONE, WeightsSpec
from tests.harness.records import record, use

KV = {
    "full": KVSpec(method="full"),
    "x@0.5": KVSpec(method="x", keep=0.5),
    "x@0.2": KVSpec(method="x", keep=0.2),
}
WEIGHTS = (NONE, WeightsSpec(method="bnb-nf4", label="nf4"))
LOADED = LoadedWeights(bytes_by_part={"layers": 2**20}, load_s=1.25, peak_bytes=None)


ADAPTERS = ("one", "two")


def answers(variant: str, scores: tuple[float, ...], **changes: Any) -> list[Record]:
    kv = Variant.parse(variant, ADAPTERS).kv
    kept = {"full": None, "x@0.5": use(50, visual=20), "x@0.2": use(20)}[kv]
    close = Fidelity(num_tokens=2, num_agreeing=1, total_kl=0.5) if kept else None
    first = {"prefill": 0.4} if kv == "full" else {"compress": 0.02}
    return [
        record(
            f"{'ab'[n % 2]}{n}",
            variant,
            text="the car stops" if score else "the bus stops",
            token_ids=(1, 2, 3) if score else (1, 9, 3),
            score=score,
            kv=kept,
            fidelity=close,
            num_prompt_tokens=100,
            num_generated_tokens=3,
            seconds={**first, "generate": 0.01} if n == 0 else {},
            loaded=LOADED if n == 0 and kv == "full" else None,
            **changes,
        )
        for n, score in enumerate(scores)
    ]


def summary_of(records: list[Record]) -> Mapping[str, Any]:
    names = dict.fromkeys(one.variant for one in records)
    variants = [Variant.parse(name, ADAPTERS) for name in names]
    meanings = describe_variants(WEIGHTS, KV.values(), lambda path: "")
    return {"run": {"variants": meanings}, "variants": summarize_variants(records, variants)}


def page_of(records: list[Record]) -> str:
    return to_markdown("run", variant_sections(dict(summary_of(records))))


@pytest.fixture
def matrix() -> list[Record]:
    return [
        *answers("none/full", (1, 1, 1, 0)),
        *answers("none/x@0.5", (1, 1, 0, 0)),
        *answers("none/x@0.2", (0, 0, 0, 1)),
        *answers("nf4/full", (1, 1, 1, 0)),
        *answers("nf4/x@0.5", (1, 0, 0, 0)),
        *answers("nf4/x@0.2", (0, 0, 0, 0)),
    ]


def test_one_variant_alone_has_no_section() -> None:
    assert variant_sections(dict(summary_of(answers("none/full", (1, 0))))) == []


def test_every_variant_has_its_score_its_difference_its_flips_and_its_size(
    matrix: list[Record],
) -> None:
    page = page_of(matrix)
    lines = {line.split(" | ")[1]: line for line in page.splitlines() if line.count(" | ") > 6}
    assert lines["none/full"].endswith("| - | - | - | 100.0 % | 100 B | 800 |")
    assert "| full cache | none/full | 75.0 (" in page
    row = next(
        line
        for line in page.splitlines()
        if line.startswith("| x 20 %, after the question | none/x@0.2 | 25.0 (")
    )
    assert "| -50.0 (" in row
    assert "| 3 / 1 (0.62) |" in row  # exact: 2 * (1 + 4) / 16, cut to two digits
    assert "| 20.0 % | 20 B |" in row
    assert lines["nf4/x@0.5"].startswith("| nf4 · x 50 %, after the question |")
    # 4 answers of 3 tokens; the first token is the prefill's; two caches were decoded together.
    assert row.endswith("| 800 |")


def test_weights_and_caches_make_one_table_and_no_figure(matrix: list[Record]) -> None:
    sections = variant_sections(dict(summary_of(matrix)))
    (section,) = [one for one in sections if one.title == "Weights and caches on b"]
    assert section.table is not None
    assert section.table.columns == ("score, %", "original weights", "nf4")
    assert section.table.rows == (
        ("full cache", "75.0", "75.0"),
        ("x 50 %, after the question", "50.0", "25.0"),
        ("x 20 %, after the question", "25.0", "0.0"),
    )
    assert not section.figures  # a heat map would say the same again


def test_quality_against_bytes_is_drawn_for_each_weights(matrix: list[Record]) -> None:
    sections = variant_sections(dict(summary_of(matrix)))
    figures = next(one for one in sections if one.title == "Variants on b").figures
    names = [file_of(figure) for figure in figures]
    assert names == [
        "b-differences.svg",
        "b-none-quality-against-KV-bytes.svg",
        "b-nf4-quality-against-KV-bytes.svg",
    ]
    assert all(f"]({name})" in page_of(matrix) for name in names)
    assert figures[1].title == "b, original weights: quality against KV bytes"
    assert "(none/x@0.2)" in figures[1].svg
    assert ">x, after the question</text>" in figures[1].svg


def test_texts_and_steps_are_compared_with_the_full_cache(matrix: list[Record]) -> None:
    page = page_of(matrix)
    # One of four texts differs, in its second token: F1 of 2 of 3 words.
    texts = "75.0 % | 0.917 | 0.917 | 1.0 | 0.0 % | 1.00 | 50.0 % | 0.25"
    assert f"| x 50 %, after the question | {texts} |" in page
    # Bytes: 20 of 60 visual, 30 of 40 others, 70 of 120 in the end.
    assert "| x 50 %, after the question | 50.0 % | 50.0 % | 33.3 % | 75.0 % | 58.3 % |" in page


def test_what_is_shared_is_told_from_what_each_cache_takes(matrix: list[Record]) -> None:
    page = page_of(matrix)
    assert "| original weights | 1.0 MiB | 0 B | 1 | 1.2 | 1000 |" in page
    assert "| variants | prefill | compress | generate | all |" in page
    assert "| original weights: shared by 3 caches | 100.0 | - | - | 100.0 |" in page
    assert "| &nbsp;&nbsp;full cache | - | - | 2.5 | 2.5 |" in page
    assert "| &nbsp;&nbsp;each of 2 compressed | - | 5.0 | 2.5 | 7.5 |" in page
    # 100 + 2.5 + 2 * 7.5, and 3 * 100 + 17.5.
    assert "took 118 ms" in page
    assert "would take 318 ms" in page


def test_measured_texts_have_perplexities_instead_of_scores() -> None:
    def measured(variant: str, log_prob: float) -> Record:
        kept = use(50) if "x" in variant else None
        return record(
            "a1",
            variant,
            log_probs={"reference": log_prob},
            num_scored_tokens={"reference": 4},
            first_log_probs={"reference": -1.0},
            kv=kept,
        )

    page = page_of([measured("none/full", -4.0), measured("none/x@0.5", -7.0)])
    assert (
        "| full cache | none/full | 2.7183 | 2.7183 | 2.7188 | 1.0000 | 4 | 100.0 % | 100 B |"
        in page
    )
    assert "| x 50 %, after the question | none/x@0.5 | 5.7546 | 7.3891 |" in page
    assert "Closeness" not in page


@pytest.fixture
def adapted() -> list[Record]:
    """The base and two adapters, each whole and compressed."""
    return [
        one
        for model in ("none", "none+one", "none+two")
        for kv in ("full", "x@0.5")
        for one in answers(f"{model}/{kv}", (1, 1, 0, 0))
    ]


def test_a_curve_and_a_column_are_one_adapters(adapted: list[Record]) -> None:
    sections = variant_sections(dict(summary_of(adapted)))
    figures = next(one for one in sections if one.title == "Variants on b").figures
    drawn = [one for one in figures if "quality against KV bytes" in one.title]
    assert [file_of(one) for one in drawn] == [
        f"b-{name}-quality-against-KV-bytes.svg" for name in ("none", "none+one", "none+two")
    ]
    for figure, model in zip(drawn, ("none", "none+one", "none+two"), strict=True):
        assert f"({model}/x@0.5)" in figure.svg and f"({model}/full)" in figure.svg
        assert figure.svg.count("/x@0.5)") == 1
    (section,) = [one for one in sections if one.title == "Weights and caches on b"]
    assert section.table is not None
    assert section.table.columns[2:] == ("original weights + one", "original weights + two")


def test_what_was_made_with_the_base_is_named_where_adapters_use_it(
    adapted: list[Record], matrix: list[Record]
) -> None:
    for records, is_named in ((adapted, True), (matrix, False)):
        summary = dict(summary_of(records))
        assert "Made with the base" not in to_markdown("run", variant_sections(summary))
        summary["run"]["variants"]["kv"]["x@0.5"]["files"] = {"profile": "0" * 64}
        page = to_markdown("run", variant_sections(summary))
        words = "the profile or nets of x 50 %, after the question."
        assert (
            f"Made with the base, and used under adapters as it is: {words}" in page
        ) == is_named


def test_a_run_that_merges_says_from_when_on_that_has_paid(adapted: list[Record]) -> None:
    """Two adapters of 0.4 s of prefill and twice 0.01 s of answers each; the base counts not."""
    merging = [
        replace(one, seconds={**one.seconds, "merge": 0.021})
        if one.variant.endswith("/full") and one.seconds
        else one
        for one in adapted
    ]
    summary = dict(summary_of(merging))
    assert "for merging to pay" not in to_markdown("run", variant_sections(summary))
    summary["run"]["config"] = {"adapter_mode": "merged"}
    page = to_markdown("run", variant_sections(summary))
    assert (
        "Adding adapters to the weights took 0.042 s, and reading and answering with them 0.84 s: "
        "beside the weights these would have had to be 5.0 % slower for merging to pay."
    ) in page
