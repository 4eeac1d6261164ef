"""VLMEvalKit's prediction files."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from encodeonce.harness.bridges.export import vlmevalkit
from encodeonce.harness.results.export import ExportError, VariantExport, read_run
from tests.harness.bridges.export.runs import write_run
from tests.harness.bridges.export.sheets import read_xlsx


def test_a_sheet_holds_the_table_and_the_predictions_as_they_were(tmp_path: Path) -> None:
    baseline, _ = read_run(write_run(tmp_path))
    [path] = vlmevalkit.write(baseline, tmp_path / "out")
    model = "llava-hf__llava-1.5-7b-hf__none_full"
    assert path.name == f"{model}_my_task.xlsx"
    assert path.parent.parent == tmp_path / "out" / model
    rows = read_xlsx(path)
    assert list(rows[0]) == [
        *("index", "sample", "video", "question", "A", "B", "answer", "kind", "prediction")
    ]
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert [row["prediction"] for row in rows] == ["B", "=3", "A. red", "07"]
    assert [row["A"] for row in rows] == ["a car", None, "red", None]
    assert [row["kind"] for row in rows] == ["what", "count", "what", "count"]


def test_an_error_is_what_the_kit_knows_a_failure_by(tmp_path: Path) -> None:
    _, other = read_run(write_run(tmp_path))
    [path] = vlmevalkit.write(other, tmp_path / "out")
    assert "int4_snapkv_0.5" in path.name
    predictions = [row["prediction"] for row in read_xlsx(path)]
    assert predictions[2] == "Failed to obtain answer via API. UndecodableMedia: torn"
    assert predictions[:2] == ["B", "=3"]


def test_what_a_cell_cannot_hold_is_replaced_or_refused(tmp_path: Path) -> None:
    baseline, _ = read_run(write_run(tmp_path))
    [path] = vlmevalkit.write(_answering(baseline, "a\x0bb\nc"), tmp_path / "out")
    assert read_xlsx(path)[0]["prediction"] == "a\N{REPLACEMENT CHARACTER}b\nc"
    with pytest.raises(ExportError, match="my task/a-1: an answer of 32,768 characters"):
        vlmevalkit.write(_answering(baseline, "x" * 32_768), tmp_path / "out")


def test_answers_that_are_no_texts_are_refused(tmp_path: Path) -> None:
    baseline, _ = read_run(write_run(tmp_path, scoring="nll"))
    with pytest.raises(ExportError, match="scored by 'nll' and has no text"):
        vlmevalkit.write(baseline, tmp_path / "out")


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline, _ = read_run(write_run(tmp_path))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ExportError, match="pip install openpyxl"):
        vlmevalkit.write(baseline, tmp_path / "out")


def _answering(run: VariantExport, text: str) -> VariantExport:
    """Return an export whose first answer is another."""
    [benchmark] = run.benchmarks
    first, *others = benchmark.answered
    first = replace(first, record=replace(first.record, text=text))
    return replace(run, benchmarks=(replace(benchmark, answered=(first, *others)),))
