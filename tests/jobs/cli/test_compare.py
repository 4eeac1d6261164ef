"""``encodeonce compare`` from the command line."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.harness.results.sides import read_side
from encodeonce.jobs.cli.app import app
from encodeonce.models.kv.spec import FULL, KVSpec
from tests.harness.runs import a_record, write_run

H2O = KVSpec(method="h2o", keep=0.5)


def compare(*words: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, words)])


def test_two_folders_are_compared_and_written_in_three_forms(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [a_record("a1"), a_record("b1")])
    write_run(tmp_path / "b", [a_record("a1", 0.0), a_record("b1")])
    files = [tmp_path / f"c.{ending}" for ending in ("md", "json", "svg")]
    options = [word for file in files for word in ("--output", file)]
    done = compare(tmp_path / "a", tmp_path / "b", *options)
    assert done.exit_code == 0, done.output
    assert "b: B - A = -50.0 points" in done.stdout
    markdown, content, picture = (file.read_text(encoding="utf-8") for file in files)
    assert "## Worse in B: b, none/full" in markdown
    assert json.loads(content)["cells"][0]["difference"]["mean"] == -0.5
    assert ElementTree.fromstring(picture).tag.endswith("svg")


def test_a_variant_is_named_behind_a_colon(tmp_path: Path) -> None:
    folder = tmp_path / "run:1"
    records = [a_record("a1"), a_record("a1", 0.0, variant="none/h2o@0.5")]
    write_run(folder, records, kv=[FULL, H2O])
    assert [record.variant for record in read_side(f"{folder}:none/h2o@0.5").records] == [
        "none/h2o@0.5"
    ]
    done = compare(f"{folder}:none/full", f"{folder}:none/h2o@0.5")
    assert done.exit_code == 0, done.output
    assert "variant kv.keep" in done.stdout


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("b", "is not the output folder of a run"),
        ("empty", "has no answers yet"),
        ("a:none/h2o", "has no answers of the variant 'none/h2o'; it has none/full"),
    ],
)
def test_what_cannot_be_compared_is_one_message(tmp_path: Path, second: str, words: str) -> None:
    write_run(tmp_path / "a", [a_record("a1")])
    write_run(tmp_path / "empty", [])
    done = compare(tmp_path / "a", tmp_path / second)
    assert done.exit_code == 1
    assert words in " ".join(done.stderr.split())


def test_an_unknown_ending_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    done = compare(tmp_path / "a", tmp_path / "b", "--output", "c.png")
    assert done.exit_code == 1
    assert "must end in .md, .json or .svg" in " ".join(done.stderr.split())


def test_a_comparison_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [a_record("a1")])
    (tmp_path / "c.md").mkdir()
    done = compare(tmp_path / "a", tmp_path / "a", "--output", tmp_path / "c.md")
    assert done.exit_code == 1
    said = done.stderr.replace("\n", "")
    assert f"{tmp_path}/c.md cannot be written: Is a directory".replace(" ", "") in said.replace(
        " ", ""
    )
