"""Figures and tables for papers: whole files, the numbers of the summary, and any text as text."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from encodeonce.harness.report.charts.forest import Difference, Group
from encodeonce.harness.report.charts.lines import Point, Series
from encodeonce.harness.report.charts.svg import Axis
from encodeonce.harness.report.figures.curves import Chart
from encodeonce.harness.report.figures.differences import Forest
from encodeonce.harness.report.paper import plots
from encodeonce.harness.report.paper.latex import Tabular, escaped, latex, tables
from encodeonce.harness.report.paper.plots import FileFormat, draw_chart, draw_forest
from encodeonce.harness.report.paper.write import figures, write_paper
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.output_error import OutputError
from encodeonce.jobs.cli.app import app
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, WeightsSpec
from tests.harness.records import use
from tests.harness.runs import a_record, write_run

BEGINNINGS = {FileFormat.PDF: b"%PDF-", FileFormat.PNG: b"\x89PNG", FileFormat.SVG: b"<?xml"}
HOSTILE = r"_a $x^2$ \input{/etc/passwd} 50 % & # {b} ~ <c> 日本 $ " + "\x1b\n"
SNAPKV = [KVSpec(method="snapkv", keep=keep) for keep in (0.5, 0.2)]
RTN = WeightsSpec(method="rtn")


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    answers = [
        a_record(
            f"{'abcd'[n // 2]}{n}",
            float(n >= row + 2 * column),
            variant=f"{weights.title}/{kv.title}",
            kv=None if kv.is_full else use(round(100 * kv.keep)),
            tags={"kind": "count" if n < 4 else "place"},
        )
        for row, weights in enumerate((NONE, RTN))
        for column, kv in enumerate((FULL, *SNAPKV))
        for n in range(8)
    ]
    kv = [FULL, *SNAPKV]
    return summarize_run(write_run(tmp_path / "run", answers, weights=[NONE, RTN], kv=kv))


@pytest.mark.parametrize("kind", FileFormat)
def test_every_figure_is_a_whole_file_and_the_same_each_time(
    summary: Summary, kind: FileFormat, tmp_path: Path
) -> None:
    files = write_paper(tmp_path, summary, [kind], with_tables=False)
    assert [path.name for path in files] == [
        f"{name}.{kind}"
        for name in (
            "scores",
            "b-differences",
            "b-none-quality-against-KV-bytes",
            "b-rtn-quality-against-KV-bytes",
        )
    ]
    contents = [path.read_bytes() for path in files]
    assert all(content.startswith(BEGINNINGS[kind]) for content in contents)
    again = write_paper(tmp_path, summary, [kind], with_tables=False)
    assert contents == [path.read_bytes() for path in again]


def texts(svg: bytes) -> str:
    """Return what matplotlib notes beside the outlines of each text."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.fromstring(svg, parser=parser)
    return "\n".join(e.text or "" for e in root.iter() if e.tag is ElementTree.Comment)


def test_a_forest_has_every_row_with_its_number(summary: Summary) -> None:
    forest = next(one for one in figures(summary) if one.file == "b: differences")
    assert isinstance(forest, Forest)
    shown = texts(draw_forest(forest, FileFormat.SVG))
    rows = [row for group in forest.groups for row in group.rows]
    assert len(rows) == 5
    for row in rows:
        assert row.name in shown
        assert f"{row.mean:+.1f}".replace("-", "\u2212") in shown
    cell = summary["variants"]["variants"]["none/snapkv@0.5"]["benchmarks"]["b"]
    assert rows[0].mean == 100 * cell["against"]["none/full"]["mean"]


def test_points_at_the_same_bytes_stand_side_by_side() -> None:
    point = Point(x=1.0, y=50.0, low=40.0, high=60.0)
    far = replace(point, x=9.0)
    series = tuple(Series(name=name, points=(point, far)) for name in "ab")
    x, y = Axis(title="MiB", scale="log", low=1.0, high=9.0), Axis(title="%")
    chart = Chart(title="t", words="", series=series, x=x, y=y)
    first, second = (one.points for one in plots._side_by_side(chart))
    assert first[0].x < 1.0 < second[0].x < 1.1
    assert first[1].x < 9.0 < second[1].x < 9.9


@pytest.mark.parametrize("kind", FileFormat)
def test_any_name_is_drawn_as_text(kind: FileFormat) -> None:
    row = Difference(name=HOSTILE, mean=1.0, low=0.0, high=2.0)
    axis = Axis(title=HOSTILE, low=0.0, high=5.0)
    groups = (Group(heading=HOSTILE, rows=(row,)),)
    forest = Forest(title="t", words="", groups=groups, x=axis, at=0.0, sign="+", file="f")
    series = (Series(name=HOSTILE, points=(Point(x=1.0, y=1.0), Point(x=2.0, y=1.0))),)
    chart = Chart(title="t", words="", series=series, x=axis, y=axis)
    for content in (draw_forest(forest, kind), draw_chart(chart, kind)):
        assert content.startswith(BEGINNINGS[kind])
    assert r"_a $x^2$ \input" in texts(draw_chart(chart, FileFormat.SVG))


def test_tables_hold_the_numbers_of_the_report(summary: Summary) -> None:
    found = {table.name: table for table in tables(summary)}
    assert list(found) == ["scores", "b: variants", "b: weights and caches"]
    rows = dict(found["b: variants"].groups)
    cell = summary["variants"]["variants"]["rtn/snapkv@0.2"]["benchmarks"]["b"]
    accuracy, difference = cell["accuracy"], cell["against"]["none/full"]
    last = rows["RTN, after the question"][-1]
    assert last[0] == "SnapKV 20 %"
    assert last[1].startswith(f"{100 * accuracy['mean']:.1f} ({100 * accuracy['low']:.1f} to ")
    assert last[2].startswith(f"{100 * difference['mean']:+.1f} (")
    assert last[3] == "20.0 %"
    text = latex(found["b: variants"])
    assert re.findall(r"\\(\w+)rule", text) == ["top", "mid", "bottom"]
    assert r"SnapKV 20~\% & 37.5" in text
    assert "$-$62.5" in text


def test_latex_prints_any_text_as_it_is() -> None:
    assert escaped(r"\input{x}") == r"\textbackslash{}input\{x\}"
    assert escaped("50 % of $a_b$ & #1~^") == (
        r"50~\% of \$a\_b\$ \& \#1\textasciitilde{}\textasciicircum{}"
    )
    table = Tabular(
        name=HOSTILE, caption=HOSTILE, columns=(HOSTILE,), groups=(("", ((HOSTILE,),)),)
    )
    text = latex(table)
    commands = set(re.findall(r"\\([A-Za-z]+)", text.partition("\n")[2]))
    assert "input" not in commands
    assert not re.search(r"(?<!\\)[$&#%](?!-)", text.partition("\n")[2].replace("$-$", ""))
    assert text.count("{") == text.count("}")


def test_a_run_without_scores_has_nothing_to_draw(tmp_path: Path) -> None:
    summary = summarize_run(write_run(tmp_path / "run", []))
    assert write_paper(tmp_path / "run", summary, [FileFormat.PDF], with_tables=True) == []


def test_without_matplotlib_figures_are_refused_in_words(
    summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(plots.NoMatplotlib, match=r"pip install 'encodeonce\[paper\]'"):
        write_paper(tmp_path, summary, [FileFormat.PDF], with_tables=True)
    assert not (tmp_path / "paper").exists()
    assert len(write_paper(tmp_path, summary, [], with_tables=True)) == 3


def test_a_file_in_the_way_is_named(summary: Summary, tmp_path: Path) -> None:
    (tmp_path / "paper").write_text("mine")
    with pytest.raises(OutputError, match="paper cannot be written"):
        write_paper(tmp_path, summary, [], with_tables=True)


def command(*words: Any) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_command_writes_and_names_the_files(summary: Summary, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = command("report", run, "--figures", "svg", "--latex")
    assert done.exit_code == 0, done.output
    named = re.findall(r"^for papers: (.+)$", done.output, re.MULTILINE)
    assert sorted(named) == sorted(map(str, (run / "paper").iterdir()))
    assert len(named) == 7
    refused = command("report", run, "--latex", "--json", "-")
    assert refused.exit_code == 1 and "--json writes nothing else" in refused.stderr
    unknown = command("report", run, "--figures", "gif")
    assert unknown.exit_code == 2 and "gif" in unknown.stderr and "pdf" in unknown.stderr
