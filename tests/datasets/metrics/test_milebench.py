"""MileBench's scorers. The expectations were computed with its own code."""

import pytest

from encodeonce.datasets.metrics.milebench import chosen_option, holds_needle, holds_text, plain

OPTIONS = ("red car", "A blue car.", "3.5", "None of these")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The car,\nit's red.", "the car it's red"),
        ("well-known", "well known"),
        ("a- b-c", "a bc"),  # one blank beside a mark joins all of its kind
        ("1,000 (or so)", "1000 or so"),
        ("3. It is 3.5.", "3 it is 3.5"),
        ("'quoted'", "quoted"),
        ("...", ""),
        ("x." * 33, "x" * 33 + "."),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("answer", "position"),
    [
        ("B. A blue car", 1), ("A red car", 0), ("a blue car", 1), ("redcar", 0),
        ("It is 3.5!", None), ("C. 3.5", 2),
        ("none of these: red car", 3), ("d", 3), ("(C)", 2), ("b)", 1), ("ab", None),
        ("e", None), ("who knows", None), ("", None), ("?", None),
    ],
)  # fmt: skip
def test_options(answer: str, position: int | None) -> None:
    assert chosen_option(answer, OPTIONS) == position


def test_more_options_than_letters() -> None:
    options = [f"animal {number:02d}" for number in range(60)]
    assert chosen_option("AC", options) == 28
    assert chosen_option("bh", options) == 59
    assert chosen_option("animal 59", options) == 59


def test_needles_are_words_and_texts_are_parts() -> None:
    assert holds_needle("It is 4711.", "4711")
    assert not holds_needle("It is 47110", "4711")
    assert holds_text("It is 47110", "4711")
    assert not holds_text("", "4711")
