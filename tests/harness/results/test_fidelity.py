"""Closeness of answers, on examples worked out by hand."""

import pytest

from encodeonce.harness.results.fidelity import common_prefix, repetition_rate, summarize_fidelity
from encodeonce.harness.run.record import Record
from encodeonce.models.answer import Fidelity
from tests.harness.records import record


@pytest.mark.parametrize(
    ("tokens", "reference", "expected"),
    [
        ((1, 2, 3), (1, 2, 3), 3),
        ((1, 2, 3), (1, 9, 3), 1),
        ((1, 2), (1, 2, 3), 2),
        ((7,), (8,), 0),
        ((), (1,), 0),
    ],
)
def test_common_prefix(tokens: tuple[int, ...], reference: tuple[int, ...], expected: int) -> None:
    assert common_prefix(tokens, reference) == expected
    assert common_prefix(reference, tokens) == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((1, 2, 3, 4, 5), 0.0),
        ((1, 2, 3), 0.0),  # no 4-gram at all
        ((1, 1, 1, 1, 1), 1 - 1 / 2),  # two 4-grams, the same
        ((1, 2, 1, 2, 1, 2, 1), 1 - 2 / 4),  # 1212 2121 1212 2121
        ((1, 2, 3, 4, 1, 2, 3, 4), 1 - 4 / 5),  # 1234 2341 3412 4123 1234
    ],
)
def test_repetition_rate(tokens: tuple[int, ...], expected: float) -> None:
    assert repetition_rate(tokens) == pytest.approx(expected)


def by_sample(*records: Record) -> dict[tuple[str, str], Record]:
    return {(one.benchmark, one.sample): one for one in records}


def test_what_is_compared_and_how_it_is_averaged() -> None:
    references = by_sample(
        record("a1", text="a red car stops", token_ids=(1, 2, 3, 4, 0)),
        record("a2", text="no", token_ids=(5, 0)),
        record("b1", text="never asked", token_ids=(6, 0)),
    )
    answers = [
        # Three of four words in order: F1 = 2 * 3 / (4 + 4).
        record(
            "a1",
            "none/x",
            text="a red bus stops",
            token_ids=(1, 2, 9, 4, 0),
            fidelity=Fidelity(num_tokens=4, num_agreeing=3, total_kl=0.5),
        ),
        record(
            "a2",
            "none/x",
            text="no",
            token_ids=(5, 0),
            fidelity=Fidelity(num_tokens=1, num_agreeing=1, total_kl=0.0),
        ),
        record("c1", "none/x", text="without a reference", token_ids=(7, 0)),
        record("b1", "none/x"),  # an error
    ]
    found = summarize_fidelity(answers, references)
    assert found is not None
    assert found["num_answers"] == 2
    assert found["exact_match"] == 0.5
    assert found["rouge_l"] == pytest.approx((0.75 + 1.0) / 2)
    assert found["rouge_l_legacy"] == pytest.approx((0.75 + 1.0) / 2)
    assert (found["num_different"], found["first_divergence"]) == (1, 2.0)
    assert found["length_ratio"] == 1.0
    assert found["num_forced_tokens"] == 5
    assert found["token_agreement"] == pytest.approx(4 / 5)
    assert found["mean_kl"] == pytest.approx(0.1)


def test_a_loop_is_seen_by_the_token_lcs_and_not_by_the_legacy_rouge() -> None:
    full = record("a1", text="the car turns left", token_ids=(1, 2, 3, 4))
    loop = record(
        "a1", "none/x", text=" ".join(["the car turns left"] * 5), token_ids=(1, 2, 3, 4) * 5
    )
    found = summarize_fidelity([loop], by_sample(full))
    assert found is not None
    assert found["rouge_l"] == pytest.approx(2 * 4 / (4 + 20))
    assert found["rouge_l_legacy"] == pytest.approx(1.0)
    assert found["repetition_rate"] == pytest.approx(1 - 4 / 17)
    assert found["reference_repetition_rate"] == 0.0
    assert found["length_ratio"] == 5.0
    assert found["first_divergence"] == 4.0


def test_equal_texts_without_a_word_are_equal() -> None:
    answers = [record("a1", text="...", token_ids=(1, 0))]
    found = summarize_fidelity(answers, by_sample(*answers))
    assert found is not None
    assert found["rouge_l"] == 1.0
    assert found["first_divergence"] is None
    assert found["token_agreement"] is None


def test_answers_that_were_not_generated_are_not_compared() -> None:
    chosen = record("a1", text="A")
    assert summarize_fidelity([chosen], by_sample(chosen)) is None
