"""What judges are asked, and how their replies are read."""

import pytest

from encodeonce.datasets.rubric import Rubric, VerdictError
from encodeonce.datasets.rubrics.comparison import COMPARISON, read_scores
from encodeonce.datasets.rubrics.correctness import CORRECTNESS, read_score


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("It has both.\nSCORE: 1.0", 1.0),
        ("**Score:** 0.4", 0.4),
        ("score = 0", 0.0),
        ("SCORE: 0.2\nOn reflection:\nSCORE: 0.7\n", 0.7),
        ("SCORE: 0.5/1", 0.5),
    ],
)
def test_a_grade_is_that_of_the_last_line_of_its_form(reply: str, value: float) -> None:
    assert read_score(reply).value == value


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("", "no line of the form"),
        ("I would give 0.4.", "no line of the form"),
        ("SCORE: high", "no line of the form"),
        ("SCORE: 1.1", "from 0.0 to 1.0"),
        ("SCORE: -0.3", "from 0.0 to 1.0"),
        ("SCORE: 4/10", "from 0.0 to 1.0"),
        ("SCORE: 0.3 or 0.4", "no line of the form"),
    ],
)
def test_what_is_no_grade_is_never_read_as_one(reply: str, message: str) -> None:
    with pytest.raises(VerdictError, match=message):
        read_score(reply)


@pytest.mark.parametrize("reply", ["x\nSCORES: 8 6", "**Scores:** 8, 6", "SCORES: 8/10 and 6/10"])
def test_two_grades_are_the_references_and_the_answers(reply: str) -> None:
    verdict = read_scores(reply)
    assert (verdict.reference, verdict.value) == (0.8, 0.6)


@pytest.mark.parametrize("reply", ["8", "SCORES: 8", "SCORES: 0 6", "SCORES: 8 11", "SCORES: 8 -6"])
def test_two_grades_are_from_1_to_10(reply: str) -> None:
    with pytest.raises(VerdictError):
        read_scores(reply)


@pytest.mark.parametrize("rubric", [CORRECTNESS, COMPARISON])
def test_texts_stand_in_the_message_as_they_are(rubric: Rubric) -> None:
    texts = {name: f"{{{name}}} 100 %" for name in ("question", "reference", "answer", "context")}
    message = rubric.ask(texts)
    assert "{question} 100 %" in message and "{answer} 100 %" in message
    assert message.index("{reference}") < message.index("{answer}")


def test_other_words_are_another_rubric() -> None:
    others = [
        Rubric(system=f"{CORRECTNESS.system} ", template=CORRECTNESS.template, read=read_score),
        Rubric(system=CORRECTNESS.system, template=f"{CORRECTNESS.template}!", read=read_score),
        COMPARISON,
    ]
    assert len({one.sha256 for one in [CORRECTNESS, *others]}) == 4
