"""What a judge says of two variants or runs, paired: in the report, in `compare`, in tables."""

from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.harness.report.summary import sections
from encodeonce.harness.results.export import read_run
from encodeonce.harness.results.paired import paired_difference
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.run.after.verdict import FILE, JudgeIdentity, VerdictRecord, text_sha256
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.jsonl import JsonLinesWriter
from encodeonce.harness.run.record import SampleError
from encodeonce.jobs.api import Run
from encodeonce.jobs.cli.app import app
from tests.harness.judging.test_judge import FULL, SNAP, TEXTS, Write, write

__all__ = ["write"]

GRADER = JudgeIdentity(model="grader", rubric_sha256="a" * 64, settings={"temperature": 0.0})
OTHER = JudgeIdentity(model="other", rubric_sha256="a" * 64, settings={"temperature": 0.0})
FULL_GRADES, SNAP_GRADES = (1.0, 0.4, 0.7), (0.0, 0.4, 0.9)


def say(folder: Path, judge: JudgeIdentity, variant: str, grades: tuple[float | None, ...]) -> None:
    """Write a judge's verdicts about a variant's answers; None is an error."""
    with JsonLinesWriter(folder / FILE) as file:
        for (sample, text), grade in zip(TEXTS.items(), grades, strict=True):
            verdict = VerdictRecord(
                benchmark="mm_vet",
                sample=sample,
                variant=variant,
                request_sha256="b" * 64,
                answer_sha256=text_sha256(text),
                judge=judge,
                value=grade,
                error=SampleError(type="NoVerdict", message="?") if grade is None else None,
            )
            file.write(asdict(verdict))


@pytest.fixture
def judged(write: Write) -> Path:
    """A run of two variants, both judged by one judge; by another, one of them."""
    folder = write({FULL: TEXTS, SNAP: TEXTS})
    say(folder, OTHER, FULL, (0.0, 0.0, 0.0))
    say(folder, GRADER, FULL, FULL_GRADES)
    say(folder, GRADER, SNAP, SNAP_GRADES)
    return folder


def test_variants_are_compared_with_the_first_by_the_same_judge(judged: Path) -> None:
    summary = summarize_run(RunFolder(judged))
    parts = {(one["variant"], one["judge"]["model"]): one for one in summary["judged"]}
    assert set(parts) == {(FULL, "grader"), (SNAP, "grader"), (FULL, "other")}
    assert parts[FULL, "grader"]["difference"] is None
    found = parts[SNAP, "grader"]["difference"]
    by_hand = paired_difference(FULL_GRADES, SNAP_GRADES, list(TEXTS))
    assert by_hand is not None and found["num_samples"] == 3
    assert found["mean"] == pytest.approx(by_hand.mean) == pytest.approx(-0.8 / 3)
    (section,) = [one for one in sections(summary) if one.title == "Judged answers"]
    assert section.table is not None and section.table.columns[-1] == "difference"
    assert [row[-1][:5] for row in section.table.rows] == ["-", "-26.7", "-"]
    assert any(f"to {FULL} by the same judge" in words for words in section.sentences)


def test_a_single_variant_has_no_column_of_differences(write: Write) -> None:
    folder = write({FULL: TEXTS})
    say(folder, GRADER, FULL, FULL_GRADES)
    (section,) = [
        one for one in sections(summarize_run(RunFolder(folder))) if one.title == "Judged answers"
    ]
    assert section.table is not None and section.table.columns[-1] == "judged"


def test_compare_tells_what_a_judge_of_both_says_and_no_other(judged: Path, tmp_path: Path) -> None:
    sides = [f"{judged}:{FULL}", f"{judged}:{SNAP}"]
    words = ["compare", *sides, "--output", str(tmp_path / "compared.svg")]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "Scores by a judge, on the samples that it judged in both" in done.output
    assert "B - A = -26.7 points" in done.output and "sign test p" in done.output
    assert "mm_vet, grader (" in (tmp_path / "compared.svg").read_text(encoding="utf-8")
    assert "other" not in [word.strip("(),") for word in done.output.split()]


def test_samples_that_one_side_lacks_are_left_out(write: Write) -> None:
    folder = write({FULL: TEXTS, SNAP: TEXTS})
    say(folder, GRADER, FULL, (1.0, None, 0.5))
    say(folder, GRADER, SNAP, (1.0, 1.0, 0.0))
    (_, snap) = summarize_run(RunFolder(folder))["judged"]
    assert snap["difference"]["num_samples"] == 2
    assert snap["difference"]["mean"] == -0.25


def test_tables_have_what_the_latest_judge_gave(judged: Path) -> None:
    exported = {run.variant: list(run.rows()) for run in read_run(judged)}
    assert [row["judged"] for row in exported[SNAP]] == list(SNAP_GRADES)
    assert {row["judge"] for row in exported[FULL]} == {"grader"}
    table = Run(judged).to_pandas()
    assert list(table[table.variant == FULL].judged) == list(FULL_GRADES)
