"""Latencies and goodput against figures worked out by hand."""

from typing import Any

import pytest

from encodeonce.harness.serving.config import SLO
from encodeonce.harness.serving.metrics import Served, is_saturated, spread, summarize

SLO_1_S = SLO(ttft_s=1.0, tpot_s=0.15, attain=0.5)


def a_request(number: int, **changes: Any) -> Served:
    plain = {
        "number": number,
        "sample": "b/s",
        "arrival_s": float(number),
        "queue_length": 0,
        "first_s": number + 0.5,
        "gaps_s": (0.1, 0.1, 0.1),
        "queue_s": {"prefill": 0.4},
        "stage_s": {"prefill": 0.1, "decode": 0.3},
    }
    return Served(**{**plain, **changes})


def test_a_requests_latencies() -> None:
    one = a_request(2, gaps_s=(0.1, 0.3))
    assert one.ttft_s == pytest.approx(0.5)
    assert one.tpot_s == pytest.approx(0.2)
    assert one.e2e_s == pytest.approx(0.9)
    assert one.num_tokens == 3
    assert a_request(0, gaps_s=()).tpot_s is None


def test_a_table_by_hand() -> None:
    requests = [
        a_request(0),
        a_request(1, first_s=2.5),  # too late
        a_request(2, gaps_s=(0.1, 0.3)),  # too slow
        a_request(3, gaps_s=()),  # one token: nothing to be slow with
        a_request(4, error="PromptTooLong: no", first_s=None, gaps_s=()),
    ]
    found = summarize(requests, SLO_1_S, warmup=0)
    # From the first arrival, 0 s, to the last token: the fourth's, at 3.5 s.
    assert found["duration_s"] == pytest.approx(3.5)
    assert found["attainment"] == pytest.approx(2 / 5)
    assert found["goodput"] == pytest.approx(2 / 3.5)
    assert found["requests_per_s"] == pytest.approx(4 / 3.5)
    assert found["tokens_per_s"] == pytest.approx((4 + 4 + 3 + 1) / 3.5)
    assert found["ttft_s"]["mean"] == pytest.approx((0.5 + 1.5 + 0.5 + 0.5) / 4)
    assert found["ttft_s"]["p50"] == pytest.approx(0.5)
    assert found["itl_s"]["count"] == 8
    assert found["tpot_s"]["count"] == 3
    assert found["normalised_s"]["mean"] == pytest.approx((0.8 / 4 + 1.8 / 4 + 0.9 / 3 + 0.5) / 4)
    assert found["num_failed"] == 1
    assert found["errors"] == {"PromptTooLong: no": 1}
    assert found["queue_s"] == {"prefill": pytest.approx(0.4)}


def test_warm_up_counts_for_no_figure() -> None:
    requests = [a_request(0, first_s=90.0), a_request(1), a_request(2)]
    found = summarize(requests, SLO_1_S, warmup=1)
    assert found["num_requests"] == 2
    assert found["attainment"] == 1.0
    assert found["duration_s"] == pytest.approx(2.8 - 1.0)


def test_percentiles_are_linear() -> None:
    found = spread([4.0, 1.0, 3.0, 2.0])
    assert found is not None
    assert (found.mean, found.p50, found.p90, found.count) == (2.5, 2.5, pytest.approx(3.7), 4)
    assert spread([]) is None


def test_a_queue_that_grows_is_saturated_and_a_long_steady_one_is_not() -> None:
    assert is_saturated(list(range(40)))
    assert not is_saturated([20] * 40)
    assert not is_saturated([0] * 30 + [1] * 10)
    assert not is_saturated([9, 9])
