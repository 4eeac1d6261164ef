"""Perplexity, on two texts worked out by hand."""

import math

import pytest

from encodeonce.harness.results.perplexity import summarize_nll
from encodeonce.harness.run.record import Record
from tests.harness.records import record


def measured(sample: str, log_prob: float, num_tokens: int, first: float | None) -> Record:
    return record(
        sample,
        log_probs={"reference": log_prob},
        num_scored_tokens={"reference": num_tokens},
        first_log_probs={} if first is None else {"reference": first},
    )


def test_perplexity_is_averaged_over_tokens_and_not_over_texts() -> None:
    found = summarize_nll([measured("a", -6.0, 4, -3.0), measured("b", -1.0, 1, -1.0), record("c")])
    assert found is not None
    assert (found["num_samples"], found["num_tokens"]) == (2, 5)
    assert found["per_token"] == pytest.approx(7 / 5)
    assert found["perplexity"] == pytest.approx(math.exp(7 / 5))
    assert found["num_tokens_after_first"] == 3
    assert found["perplexity_after_first"] == pytest.approx(math.exp(3 / 3))


def test_the_legacy_value_is_rounded_twice() -> None:
    # bfloat16 has 8 significant bits: 1.4 becomes 1.3984375; exp of that, 4.0488..., lies between
    # 4.03125 and 4.0625, nearer to the latter.
    found = summarize_nll([measured("a", -7.0, 5, -1.0)])
    assert found is not None
    assert found["perplexity_legacy_bf16"] == 4.0625


def test_the_first_token_is_left_out_only_where_it_is_known_apart() -> None:
    without = summarize_nll([measured("a", -6.0, 4, -3.0), measured("b", -1.0, 2, None)])
    assert without is not None
    assert without["perplexity_after_first"] is None
    single = summarize_nll([measured("a", -2.0, 1, -2.0)])
    assert single is not None
    assert single["perplexity_after_first"] is None
    assert single["perplexity"] == pytest.approx(math.exp(2))


def test_without_reference_texts_there_is_no_perplexity() -> None:
    assert summarize_nll([record("a", log_probs={"A": -1.0})]) is None
