"""The parts of a run that are exported."""

import json
from pathlib import Path

import pytest

from encodeonce.harness.results.export import (
    ExportError,
    file_names,
    read_run,
)
from tests.harness.bridges.export.runs import OTHER, write_run


def test_a_run_has_one_export_a_variant_in_the_benchmarks_order(tmp_path: Path) -> None:
    runs = read_run(write_run(tmp_path))
    assert [run.variant for run in runs] == ["none/full", OTHER]
    for run in runs:
        [benchmark] = run.benchmarks
        assert [one.sample.id for one in benchmark.answered] == ["a-1", "a-2", "b-1", "b-2"]
        assert all(one.record.variant == run.variant for one in benchmark.answered)


def test_variants_that_look_alike_as_file_names_are_told_apart() -> None:
    names = file_names(["none/full", "none full", "int4/full", ".."])
    assert len(set(names.values())) == 4
    assert names["int4/full"] == "int4_full"
    assert names["none/full"].startswith("none_full-")
    assert names[".."] == "_"


def test_questions_that_have_changed_since_are_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    file = tmp_path / "questions.jsonl"
    file.write_text(file.read_text("utf-8").replace("a car", "a tram"), encoding="utf-8")
    with pytest.raises(ExportError, match="not those that the run answered"):
        read_run(folder)
    file.unlink()
    with pytest.raises(ExportError, match="the folder that the run was started in"):
        read_run(folder)


def test_a_run_without_records_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    (folder / "records.jsonl").unlink()
    with pytest.raises(ExportError, match="has no records yet"):
        read_run(folder)


def test_samples_that_were_not_asked_are_left_out_but_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    path = folder / "records.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["sample"] != "a-2"]
    path.write_text("".join(kept), encoding="utf-8")
    [benchmark] = read_run(folder)[0].benchmarks
    assert [one.index for one in benchmark.answered] == [0, 2, 3]
    assert benchmark.num_samples == 4
