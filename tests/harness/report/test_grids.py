"""A benchmark that is read by two tags: one table of all variants, and a heat map for each."""

from collections.abc import Sequence

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark
from encodeonce.harness.report.figures.grids import grid_figures, grid_sections
from encodeonce.harness.report.figures.times import page_figures
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.report.section import file_of
from encodeonce.harness.report.terminal import print_report
from encodeonce.harness.results.matrix import summarize_variants
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.meanings import describe_variants
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.variant import Variant
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import NONE
from tests.harness.records import record

NEEDLE = load_benchmark("needle", {"folder": "never made"})
FULL = {("0 %", "8"): (1, 1), ("100 %", "8"): (1, 0), ("0 %", "16"): (1, 1), ("100 %", "16"): (1,)}
CUT = {("0 %", "8"): (0, 0), ("100 %", "8"): (1, 1)}


def answers(variant: str, scores: dict[tuple[str, str], tuple[int, ...]]) -> list[Record]:
    return [
        record(
            f"{depth} {frames} {number}",
            variant,
            score=float(score),
            tags={"depth": depth, "frames": frames},
        )
        for (depth, frames), some in scores.items()
        for number, score in enumerate(some)
    ]


def summary_of(records: Sequence[Record], benchmark: Benchmark | None = NEEDLE) -> Summary:
    variants = [Variant.parse(name) for name in dict.fromkeys(one.variant for one in records)]
    benchmarks = {"b": benchmark} if benchmark is not None else {}
    kv = (KVSpec(method="full"), KVSpec(method="x", keep=0.2))
    return {
        "run": {"variants": describe_variants([NONE], kv, lambda path: "")},
        "variants": summarize_variants(records, variants, benchmarks),
        "timeline": None,
        "precompute": None,
        "uncached": None,
        "evaluation": None,
    }


@pytest.fixture
def summary() -> Summary:
    return summary_of([*answers("none/full", FULL), *answers("none/x@0.2", CUT)])


def test_every_variant_has_a_row_for_each_depth_and_a_dash_where_nothing_was_asked(
    summary: Summary,
) -> None:
    (section,) = grid_sections(summary)
    assert section.title == "b by depth and frames"
    assert section.table is not None
    assert section.table.columns == ("variant", "id", "depth", "8 frames", "16 frames")
    cut = "x 20 %, after the question"
    assert section.table.rows == (
        ("full cache", "none/full", "0 %", "100.0", "100.0"),
        ("full cache", "none/full", "100 %", "50.0", "100.0"),
        (cut, "none/x@0.2", "0 %", "0.0", "-"),
        (cut, "none/x@0.2", "100 %", "100.0", "-"),
    )
    assert "Number of them in a cell: 1 to 2." in section.sentences[0]


def test_a_run_of_one_variant_has_its_grid_without_naming_it() -> None:
    (section,) = grid_sections(summary_of(answers("none/full", FULL)))
    assert section.table is not None
    assert section.table.columns == ("depth", "8 frames", "16 frames")
    assert section.table.rows[0] == ("0 %", "100.0", "100.0")
    assert [figure.title for figure in section.figures] == ["b: depth and frames"]


def test_every_variant_has_a_heat_map_of_the_same_shades(summary: Summary) -> None:
    full, cut = grid_figures(summary, "b")
    assert file_of(full) == "b-none-full-depth-and-frames.svg"
    assert file_of(cut) == "b-none-x@0.2-depth-and-frames.svg"
    # 100 % and 50 % in one map, 0 % and 100 % in the other: 100 % is as dark in both.
    for figure, lightest in ((full, 0.49), (cut, 0.08)):
        assert f'fill-opacity="{lightest:.2f}"' in figure.svg
        assert 'fill-opacity="0.90"' in figure.svg
    assert "<title>0 %, 8: 100</title>" in full.svg


def test_the_page_shows_the_heat_maps_too(summary: Summary) -> None:
    one = summary_of(answers("none/full", FULL))
    assert [figure.title for figure in page_figures(one)] == ["b: depth and frames"]


def test_files_and_terminal_show_the_table(
    summary: Summary, capsys: pytest.CaptureFixture[str]
) -> None:
    page = to_markdown("run", grid_sections(summary))
    assert "| full cache | none/full | 0 % | 100.0 | 100.0 |" in page
    assert "(b-none-full-depth-and-frames.svg)" in page
    print_report(PlainConsole(), grid_sections(summary))
    assert "none/x@0.2" in capsys.readouterr().out


def test_other_benchmarks_and_records_without_a_score_have_no_grid() -> None:
    assert not grid_sections(summary_of(answers("none/full", FULL), benchmark=None))
    unscored = [record("a", tags={"depth": "0 %", "frames": "8"}, score=None)]
    assert not grid_sections(summary_of(unscored))
