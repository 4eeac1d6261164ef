"""What an answer says decides, not what it mentions: polarity, alternatives, scripts, signs."""

import csv
import time
from pathlib import Path

import pytest

from encodeonce.datasets.metrics.multiple_choice import extract_letter, score_choice
from encodeonce.datasets.sample import Sample

CARS = ("red car", "blue car", "green bus", "none")
TABLE = Path(__file__).with_name("extraction_cases.tsv")


def cases() -> list[tuple[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [(row["answer"], row["expected"]) for row in rows]


@pytest.mark.parametrize(("answer", "expected"), cases())
def test_answers_as_models_write_them(answer: str, expected: str) -> None:
    assert (extract_letter(answer, CARS) or "none") == expected


MEANT = {
    "A": ["A is the correct answer. B shows a bus, and C shows a tree.", "It's A, not B.",
          "The answer is A because B is not red.", "The answer is A rather than B",
          "A, not B", "I'd go with A over B.", "The answer is A. C is wrong.",
          "It is not the blue car but the red car.", "The blue car is wrong; it is the red car.",
          "The answer is the red car. Option B is blue.", "It is not the green bus: red car"],
    "B": ["Option A is incorrect. Option B is correct.", "A is wrong. C is wrong. B",
          "A: incorrect\nB: correct\nC: incorrect\nD: incorrect", "A and C can be ruled out, so B.",
          "The answer isn't A or C, it's B.", "Neither A nor C is right, so it must be B",
          "Not A. The answer is B", "A (the red car) is wrong, B is right",
          "Option C doesn't match and Option A does not fit. Option B it is.",
          "Options A, C and D are incorrect.  Hence (B).", "I don't think it's A. B",
          "The correct answer is option b", "My answer: b", "The answer is **b**.", "(b)",
          "I would say (b)", "**Answer**: B", "### Answer\nB", "Final Answer: $\\boxed{B}$",
          "<answer>B</answer>", "A? C? <answer>B</answer> since A is red",
          "<thinking>The answer is A.</thinking>\n\nThe answer is B", "A is wrong</think>B",
          "选B", "应该选择B", "答案：B。", "故选B", "选项A不正确，答案是B", "不是A，是B", "Ｂ",
          "正解はBです", "정답은 B입니다", "Ответ: B", "Die Antwort ist B", "La respuesta es B",
          "La réponse est B.", "The answer to this question is B.", "The answer should be B",
          "The answer is A. Wait, the answer is B", "The wrong answer is A. The right one is B",
          "A red car is wrong. It's B.", "The answer is B and A is wrong", "All are wrong except B",
          "A. Incorrect\nB. Correct\nC. Incorrect", "The answer is B, A is wrong",
          "(A) is wrong, (B) is right", "A错误，B正确", "คำตอบคือB", "B.The blue car"],
}  # fmt: skip

NONE = ["The answer is A or B.", "The answer is either A or B", "The answer is A/B", "It isn't A.",
        "The answer is A and B", "The answer is A, B", "The answer is not the red car.",
        "A is incorrect.", "The correct answer cannot be A.", "不是A", "A不对", "答案是A或B",
        "<think>The answer is A, but let me look", "Option A shows a car. Option B shows a bus.",
        "The answer is the red car or the blue car", "It is not a red car.", "Neither A nor B",
        "The answer is A. Alternatively, the answer is B", "A and B", "the answer is a red truck",
        "I would not choose A", "Not A or B", "", "<answer></answer>"]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "letter"), [(answer, letter) for letter in MEANT for answer in MEANT[letter]]
)
def test_the_option_that_is_meant_is_taken(answer: str, letter: str) -> None:
    assert extract_letter(answer, CARS) == letter


@pytest.mark.parametrize("answer", NONE)
def test_a_rejected_option_or_a_choice_between_some_is_none(answer: str) -> None:
    assert extract_letter(answer, CARS) is None


GRADES = ("A", "A+", "B", "B+")
NUMBERS = ("3%", "3", "$3", "+3")


@pytest.mark.parametrize(
    ("answer", "options", "letter"),
    [
        ("A+", GRADES, "B"),
        ("The grade is A+.", GRADES, "B"),
        ("The answer is B+", GRADES, "D"),
        ("A", GRADES, "A"),
        ("A-", ("A", "A-", "B"), "B"),
        ("+5", ("-5", "+5", "5", "0"), "B"),
        ("-5", ("-5", "+5", "5", "0"), "A"),
        ("−5", ("5", "-5", "+5", "0"), "B"),
        ("It is 5.", ("-5", "+5", "5", "0"), "C"),
        ("3", NUMBERS, "B"),
        ("3%", NUMBERS, "A"),
        ("The value is 3 %.", NUMBERS, "A"),
        ("It costs $3", NUMBERS, "C"),
        ("the answer is +3", NUMBERS, "D"),
        ("3", ("30", "3.5", "3", "13"), "C"),
        ("C", ("C++", "C#", "C", "D"), "C"),
        ("C#", ("C++", "C", "C#", "D"), "C"),
        ("It is written in C++", ("C#", "C", "Java", "C++"), "D"),
        ("10°", ("10", "10°"), "B"),
        ("3 percent", ("7", "9"), None),
        ("3%", ("3", "5"), "A"),
        ("mA", ("MA", "mA"), "B"),
        ("< 5", ("> 5", "< 5"), "B"),
    ],
)
def test_signs_tell_options_apart(answer: str, options: tuple[str, ...], letter: str) -> None:
    assert extract_letter(answer, options) == letter


GROUPS = ("AB", "A", "O", "B")


@pytest.mark.parametrize(
    ("answer", "letter"), [("AB", "A"), ("O", "C"), ("C", "C"), ("(A)", "A"), ("D", "D")]
)
def test_a_letter_that_is_no_other_option_is_that_letter(answer: str, letter: str) -> None:
    assert extract_letter(answer, GROUPS) == letter


@pytest.mark.parametrize("answer", ["A", "The answer is A", "A.", "A seems right"])
def test_a_letter_that_is_another_options_text_is_not_scored_by_guess(answer: str) -> None:
    def score(target: str) -> float | None:
        sample = Sample(
            id="1", media=(), question="?", choices=GROUPS, target=target, group="g"
        )  # fmt: skip
        return score_choice(sample, answer).value

    assert extract_letter(answer, GROUPS) is None
    assert [score(target) for target in "ABCD"] == [None, None, 0.0, 0.0]


LONG = ["answer ", " ", "*", "the answer is not ", "A, ", "not ", "<think>", "red car ", "is ",
        "\n", "選", "(A) or ", "answer: the ", "A is "]  # fmt: skip


@pytest.mark.parametrize("part", LONG)
def test_long_answers_are_read_in_time(part: str) -> None:
    start = time.process_time()
    extract_letter("The answer is " + part * 4000 + "!", CARS)
    assert time.process_time() - start < 5
