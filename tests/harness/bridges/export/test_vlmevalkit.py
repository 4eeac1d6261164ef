"""VLMEvalKit's prediction files."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encodeonce.harness.bridges.export import vlmevalkit
from encodeonce.harness.results.export import ExportError, VariantExport, read_run
from encodeonce.harness.run.record import SampleError
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


@pytest.mark.parametrize("unfit", ["\x00", "\x0b", "\x1b", "\x1f", "\ufffe", "\uffff", "\udc80"])
def test_what_a_cell_cannot_hold_is_replaced_wherever_it_stands(tmp_path: Path, unfit: str) -> None:
    baseline, _ = read_run(write_run(tmp_path))
    text = f"a{unfit}b\nc\td"
    changed = _answering(baseline, text, question=text, choices=(text, "x"), tags={text: text})
    [path] = vlmevalkit.write(changed, tmp_path / "out")
    row = read_xlsx(path)[0]
    shown = "a\N{REPLACEMENT CHARACTER}b\nc\td"
    assert [row[name] for name in ("prediction", "question", "A", shown)] == [shown] * 4


def test_an_error_of_any_length_and_characters_is_a_failure(tmp_path: Path) -> None:
    _, other = read_run(write_run(tmp_path))
    error = SampleError(type="UndecodableMedia", message="\x00" * 40_000)
    [path] = vlmevalkit.write(_answering(other, None, error=error), tmp_path / "out")
    assert read_xlsx(path)[0]["prediction"].startswith("Failed to obtain answer via API. Undec")


def test_a_text_that_a_cell_would_cut_off_is_refused_by_column(tmp_path: Path) -> None:
    baseline, _ = read_run(write_run(tmp_path))
    long = "x" * 32_768
    for column, changed in (
        ("prediction", _answering(baseline, long)),
        ("question", _answering(baseline, "B", question=long)),
        ("B", _answering(baseline, "B", choices=("x", long))),
    ):
        match = f"my task/a-1: '{column}' has 32,768 characters; .* holds 32,767"
        with pytest.raises(ExportError, match=match):
            vlmevalkit.write(changed, tmp_path / "out")


def test_answers_that_are_no_texts_are_refused(tmp_path: Path) -> None:
    baseline, _ = read_run(write_run(tmp_path, scoring="nll"))
    with pytest.raises(ExportError, match="scored by 'nll' and has no text"):
        vlmevalkit.write(baseline, tmp_path / "out")


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline, _ = read_run(write_run(tmp_path))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ExportError, match="pip install openpyxl"):
        vlmevalkit.write(baseline, tmp_path / "out")


def _answering(
    run: VariantExport, text: str | None, *, error: SampleError | None = None, **sample: Any
) -> VariantExport:
    """Return an export whose first answer is another; ``sample`` changes its question."""
    [benchmark] = run.benchmarks
    first, *others = benchmark.answered
    first = replace(
        first,
        sample=replace(first.sample, **sample),
        record=replace(first.record, text=text, error=error),
    )
    return replace(run, benchmarks=(replace(benchmark, answered=(first, *others)),))
