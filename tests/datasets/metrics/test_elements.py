"""Measures how much of a target an answer contains."""

import pytest

from encodeonce.datasets.metrics.elements import elements_held


@pytest.mark.parametrize(
    ("target", "answer", "held"),
    [
        ("-1 <AND> -5", "x = -1 or x = -5", 1.0),
        ("-1 <AND> -5", "x = -5 or 5", 0.5),
        ("-1<AND>-5", "x = 3", 0.0),
        ("table lamp<OR>desk lamp", "It is a desk lamp.", 1.0),
        ("a<AND>red<OR>blue<AND>car", "The blue one", 1 / 3),  # "a" alone stays: an article
        ("eight <OR> 8.0", "8", 1.0),
        ("cat", "concatenate", 0.0),
        ("two cats", "cats, two of them", 0.0),
        ("5:30PM<AND>88%", "It is 5:30pm and 88 % charged", 1.0),
        ("cat", "", 0.0),
        ("?", "cat", None),
        ("cat<AND>", "a cat", 1.0),
    ],
)
def test_elements(target: str, answer: str, held: float | None) -> None:
    assert elements_held(target, answer) == (None if held is None else pytest.approx(held))
