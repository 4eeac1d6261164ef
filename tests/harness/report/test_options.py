"""Options are named by letter and text, in the gallery and where runs are compared."""

from pathlib import Path

import pytest

from encodeonce.harness.report.cards import gallery_of
from encodeonce.harness.report.compare import compare_sections
from encodeonce.harness.report.options import answer_words, target_words
from encodeonce.harness.report.thumbnails import Preview, Strip
from encodeonce.harness.results.compare import Side, compare
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.run.record import Record
from tests.harness.runs import a_record, write_run

DIGITS = ("0", "3", "4", "6")


@pytest.mark.parametrize(
    ("text", "extracted", "shown"),
    [
        ("6", "D", "D: 6"),
        ("D", "D", "D: 6"),
        ("(d)", "D", "D: 6"),
        ("**D. 6**.", "D", "D: 6"),
        ("Six, so D", "D", "Six, so D (read as D: 6)"),
        ("6", None, "6"),
        ("no idea", None, "no idea"),
        ("7", "E", "7"),
        ("", None, ""),
    ],
)
def test_an_answer_is_named_by_the_option_it_was_read_as(
    text: str, extracted: str | None, shown: str
) -> None:
    assert answer_words(text, extracted, DIGITS) == shown


def test_free_answers_stay_as_they_are() -> None:
    assert target_words("D", ()) == "D"
    assert answer_words("A", "A", ()) == "A"
    assert target_words("A car", ("A car", "a bus")) == "A car"


def answered(score: float, choices: tuple[str, ...] = DIGITS) -> Record:
    text, extracted = ("6", "D") if score else ("It is 3.", "B")
    return a_record("a1", score, target="D", text=text, extracted=extracted, choices=choices)


def test_the_gallery_names_the_right_answer_and_the_models(tmp_path: Path) -> None:
    # Records of earlier versions lack the options, which the benchmark then knows.
    for number, choices in enumerate((DIGITS, ())):
        folder = write_run(tmp_path / str(number), [answered(0.0, choices)])
        preview = Preview(strip=Strip(), choices=DIGITS)
        gallery = gallery_of(summarize_run(folder), {("b", "a1"): preview})
        assert gallery is not None
        [entry] = gallery.cards[0].entries
        assert entry.choices == "A: 0 · B: 3 · C: 4 · D: 6"
        assert entry.target == "D: 6"
        assert [one.text for one in entry.answers] == ["It is 3. (read as B: 3)"]


def test_a_comparison_names_the_right_answer_and_the_models(tmp_path: Path) -> None:
    sides = []
    for name, score in (("first", 1.0), ("second", 0.0)):
        run = write_run(tmp_path / name, [answered(score)]).description()
        sides.append(Side(name=name, run=run, records=(answered(score),), precompute=None))
    sections = compare_sections(compare(*sides))
    [flips] = [one for one in sections if one.title.startswith("Worse in B")]
    assert flips.table is not None
    assert flips.table.rows[0][1:4] == ("D: 6", "D: 6", "It is 3. (read as B: 3)")
