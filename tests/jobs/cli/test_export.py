"""``encodeonce export``, after a real run."""

import csv
import re
from pathlib import Path

import openpyxl
from pyarrow import parquet
from typer.testing import CliRunner

from encodeonce.harness.results.table import COLUMNS
from encodeonce.jobs.cli.app import app
from tests.jobs.scene import make_scene


def test_a_run_is_exported_to_both_formats(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=2)
    assert scene.execute("run").exit_code == 0
    runner = CliRunner()
    found = {}
    for name in ("lmms-eval", "vlmevalkit"):
        target = str(tmp_path / name)
        done = runner.invoke(app, ["export", str(scene.output), "--to", name, "--output", target])
        assert done.exit_code == 0, done.output
        found[name] = [Path(line) for line in done.output.splitlines()]
        assert all(path.is_file() for path in found[name])
    results, samples = found["lmms-eval"]
    assert results.name.endswith("_results.json")
    answers = {line["sample"]: line["text"] for line in scene.lines("records")}
    assert len(samples.read_text("utf-8").splitlines()) == len(answers) == 4
    [sheet] = found["vlmevalkit"]
    heads, *rows = openpyxl.load_workbook(sheet).active.iter_rows(values_only=True)
    by_name = [dict(zip(heads, row, strict=True)) for row in rows]
    # The tiny model's answers are random bytes, among them such as a sheet cannot hold.
    shown = {
        name: re.sub(r"[\x00-\x08\x0b-\x1f]", "\ufffd", text) for name, text in answers.items()
    }
    assert {row["sample"]: row["prediction"] for row in by_name} == shown


def test_tables_have_a_row_for_each_sample_and_come_back_as_they_were(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=2)
    assert scene.execute("run", kv=["full", "snapkv@0.5"]).exit_code == 0
    found = {}
    for name in ("csv", "parquet"):
        target = str(tmp_path / name)
        arguments = ["export", str(scene.output), "--to", name, "--output", target]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        found[name] = [Path(line) for line in done.output.splitlines()]
        assert [path.suffix for path in found[name]] == [f".{name}"] * 2
    records = {(line["sample"], line["variant"]): line for line in scene.lines("records")}
    assert len(records) == 8
    typed = [row for path in found["parquet"] for row in parquet.read_table(path).to_pylist()]
    for row in typed:
        record = records.pop((row["sample"], row["variant"]))
        assert list(row) == list(COLUMNS)
        assert {name: row[name] for name in ("question", "text", "score", "num_prompt_tokens")} == {
            name: record[name] for name in ("question", "text", "score", "num_prompt_tokens")
        }
        assert row["kept_kv_bytes"] == (record["kv"] and record["kv"]["kept_bytes"])
        assert (row["weights"], row["kv"]) == tuple(record["variant"].split("/"))
        assert row["error"] is None
    assert not records
    texts = []
    for path in found["csv"]:
        with path.open(encoding="utf-8", newline="") as file:
            texts += list(csv.DictReader(file))
    assert [row["text"] for row in texts] == [row["text"] or "" for row in typed]
    assert [float(row["score"]) for row in texts] == [row["score"] for row in typed]


def test_an_unknown_format_and_a_folder_without_a_run_are_refused(tmp_path: Path) -> None:
    for format_, message in (
        ("excel", "known: csv, hub, inspect, lmms-eval, parquet, vlmevalkit"),
        ("lmms-eval", "it has no run.json"),
    ):
        arguments = ["export", str(tmp_path), "--to", format_, "--output", str(tmp_path / "out")]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 1
        assert message in " ".join(done.output.split())
