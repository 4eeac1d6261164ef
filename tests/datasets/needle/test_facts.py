"""What needles say can be scored without mistaking one for another."""

import random
from itertools import permutations

import pytest

from encodeonce.datasets.metrics.exact_match import normalise
from encodeonce.datasets.needle.facts import WORDS, Kind, ask, draw_choices, draw_values
from encodeonce.datasets.needle.label import COLOURS
from encodeonce.datasets.prompts import CHOICE_INSTRUCTION, FREE_INSTRUCTION

KINDS: tuple[Kind, ...] = ("text", "number", "digit")


def test_no_word_is_a_part_of_another_or_of_a_prompt() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert not [(one, other) for one, other in permutations(WORDS, 2) if one in other]
    said = " ".join([CHOICE_INSTRUCTION, FREE_INSTRUCTION, *(ask("text", one) for one in COLOURS)])
    assert not [word for word in WORDS if word in said]
    assert all(normalise(word) == word for word in WORDS)


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_a_clip_differ(kind: Kind) -> None:
    for seed in range(20):
        values = draw_values(random.Random(seed), kind, len(COLOURS))
        assert len(set(map(normalise, values))) == len(COLOURS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_others", [0, 1, 2, 7])
def test_options_differ_and_other_needles_come_first(kind: Kind, num_others: int) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        right, *others = draw_values(rng, kind, 1 + num_others)
        options = draw_choices(rng, kind, right, others, seed % 4)
        assert len(options) == len(set(options)) == 4
        assert options[seed % 4] == right
        assert len(set(options) & set(others)) == min(3, num_others)


def test_a_question_names_the_colour_and_what_is_wanted() -> None:
    assert "an orange label" in ask("number", "orange")
    assert "a red label" in ask("text", "red")
    assert ask("digit", "red").endswith("Which digit is written on it?")
