"""``encodeonce bench scale`` on small sizes, and what it says of the aims."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.harness.bench.scale.measure import Scale
from encodeonce.harness.bench.scale.report import sections
from encodeonce.jobs.cli.app import app
from encodeonce.jobs.cli.bench import scale


@pytest.mark.long
def test_each_part_is_measured(tmp_path: Path) -> None:
    words = ["bench", "scale", "--sizes", "50", "--output", str(tmp_path / "scale.json")]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "scale.json").read_text())["scale"]
    assert [(one["part"], one["size"]) for one in found] == [
        (part, 50) for part in ("index", "plan", "report")
    ]
    assert all(one["peak_bytes"] >= one["import_bytes"] > 10e6 for one in found)
    assert all(seconds > 0 for one in found for seconds in one["seconds"].values())
    assert "look-ups/s" in done.stdout


def test_a_part_is_measured(tmp_path: Path) -> None:
    words = ["bench", "scale", "index", "--sizes", "50", "--output", str(tmp_path / "scale.json")]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    (found,) = json.loads((tmp_path / "scale.json").read_text())["scale"]
    assert found["peak_bytes"] >= found["import_bytes"] > 10e6
    assert "look-ups/s" in done.stdout


def test_sizes_are_measured_from_the_smallest_on(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = list[int]()
    monkeypatch.setattr(scale, "measure", lambda _, sizes, __: measured.extend(sizes) or [])
    CliRunner().invoke(app, ["bench", "scale", "plan", "--sizes", "100,50,100"])
    assert measured == [50, 100]


@pytest.mark.parametrize("sizes", ["", "0", "1e6", "10,,20", "-5"])
def test_sizes_that_are_none_are_refused(sizes: str) -> None:
    done = CliRunner().invoke(app, ["bench", "scale", "plan", "--sizes", sizes])
    assert done.exit_code == 1
    assert "write whole numbers" in done.stderr


def test_aims_are_judged_where_they_were_measured_alone() -> None:
    def one(size: int, seconds: float) -> Scale:
        return Scale(
            part="index",
            size=size,
            seconds={"open": 20 * seconds, "stat": 60.0},  # on a busy machine
            processor_seconds={"open": seconds, "stat": 6.0},
            peak_bytes=10**9,
            import_bytes=10**8,
            figures={"look-ups/s": 50_000.0},
        )

    (small,) = sections([one(10_000, 9.0)])
    assert not [sentence for sentence in small.sentences if "Aim" in sentence]
    (grown,) = sections([one(10_000, 0.1), one(1_000_000, 1.0)])
    said = "\n".join(grown.sentences)
    assert "open with the power 0.50" in said
    assert "open at most 2; reached with 1." in said
    assert "stat at most 5; missed with 6." in said
    assert "look-ups/s at least 100,000; missed with 5e+04." in said
