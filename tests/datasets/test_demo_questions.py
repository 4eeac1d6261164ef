"""Questions about the demo's clips: their answers, their options, and where the answer is seen."""

import string

import numpy as np
import pytest

from encodeonce.datasets.demo.contents import COLORS, NUM_SCENES, ORDINALS, Contents, Tile
from encodeonce.datasets.demo.questions import (
    KINDS,
    LISTED_KINDS,
    Kind,
    Question,
    draw_clip,
    draw_question,
)
from encodeonce.datasets.prompts import format_question_in_form

CLIP = [
    Contents(digits={0: 3, 4: 7}, tile=None),
    Contents(digits={4: 9}, tile=Tile(color="red", place=4)),
    Contents(digits={1: 5, 2: 0, 8: 6}, tile=None),
    Contents(digits={4: 2, 7: 1}, tile=Tile(color="blue", place=7)),
    *[Contents(digits={n: n}, tile=None) for n in (5, 6, 3)],
    Contents(digits={2: 4}, tile=Tile(color="green", place=2)),
]
ANSWERS = {
    "Which digit is at the top center in the third scene?": ("5", (((2, 1),),)),
    "Which digit is on the blue tile?": ("1", (((3, 7),),)),
    "Which scene has the red tile?": ("second", (((1, 4),),)),
    "How many digits are in the third scene?": ("3", (((2, 1), (2, 2), (2, 8)),)),
    "List the digits in the third scene.": ("5 0 6", (((2, 1),), ((2, 2),), ((2, 8),))),
    "List the digits at the middle center of all scenes.": (
        "7 9 2",
        (((0, 4),), ((1, 4),), ((3, 4),)),
    ),
}


def draw(kind: Kind, position: int | None, seed: int = 0) -> Question:
    return draw_question(np.random.default_rng(seed), kind, CLIP, position)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_and_where_they_are_seen(text: str) -> None:
    drawn = [draw(kind, None, seed) for kind in KINDS for seed in range(60)]
    asked = [question for question in drawn if question.text == text]
    assert asked
    for question in asked:
        assert (question.answer, question.evidence) == ANSWERS[text]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LISTED_KINDS])
def test_the_right_option_stands_where_it_was_asked_for(kind: Kind) -> None:
    for position in range(4):
        chosen, free = draw(kind, position, seed=5), draw(kind, None, seed=5)
        assert chosen.text == free.text
        assert chosen.answer == string.ascii_uppercase[position]
        assert chosen.choices[position] == free.answer
        assert len(set(chosen.choices)) == 4


def test_wrong_options_are_shown_by_the_clip_where_possible() -> None:
    question = draw("when", 0)
    assert {"second", "fourth", "eighth"} < set(question.choices)


@pytest.mark.parametrize("kind", LISTED_KINDS)
def test_lists_have_no_options(kind: Kind) -> None:
    with pytest.raises(ValueError, match=f"{kind!r} have no options"):
        draw(kind, 0)


def test_a_clip_has_every_tile_once() -> None:
    for seed in range(20):
        scenes = draw_clip(np.random.default_rng(seed))
        assert len(scenes) == NUM_SCENES == len(ORDINALS)
        colors = [scene.tile.color for scene in scenes if scene.tile is not None]
        assert sorted(colors) == sorted(COLORS)
        for scene in scenes:
            assert list(scene.digits) == sorted(scene.digits)
            assert len(set(scene.digits.values())) == len(scene.digits)
            assert scene.tile is None or scene.tile.place in scene.digits


def test_the_form_decides_the_instruction() -> None:
    ends = {
        form: format_question_in_form("Which?", ["7", "3"], form).splitlines()[1:]
        for form in ("letter", "text")
    }
    assert ends["letter"][:2] == ends["text"][:2] == ["A. 7", "B. 3"]
    assert "letter" in ends["letter"][2]
    assert ends["text"][2] == "Answer with the text of the right option."
    assert format_question_in_form("Which?", [], "free").splitlines() == [
        "Which?",
        "Answer the question using a single word or phrase.",
    ]
