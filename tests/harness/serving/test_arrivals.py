"""Arrivals that are drawn, and recorded ones in the published formats."""

import statistics
from pathlib import Path

import pytest

from encodeonce.harness.serving.arrivals import arrival_times_s, choices, trace_rows
from encodeonce.harness.serving.loads import (
    ConstantArrivals,
    GammaArrivals,
    PoissonArrivals,
    TraceArrivals,
)
from encodeonce.harness.serving.trace import TraceError, read_trace

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.017335+00:00,2399,6
"""
AZURE_LMM = """TIMESTAMP,NumImages,ContextTokens,GeneratedTokens
2024-10-15 00:00:00.1234567,2,1500,40
2024-10-15 00:00:02.1234567,0,300,12
"""
BURST_GPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,Conversation log
"""


def gaps(times: list[float]) -> list[float]:
    return [b - a for a, b in zip(times, times[1:], strict=False)]


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_gamma_gaps_have_their_mean_and_their_coefficient_of_variation(cv: float) -> None:
    arrivals = GammaArrivals(kind="gamma", rate=4.0, cv=cv, requests=40_000, seed=1)
    found = gaps(arrival_times_s(arrivals))
    mean = statistics.fmean(found)
    assert mean == pytest.approx(0.25, rel=0.05)
    assert statistics.pstdev(found) / mean == pytest.approx(cv, rel=0.05)


def test_poisson_gaps_are_memoryless_and_constant_ones_equal() -> None:
    poisson = gaps(arrival_times_s(PoissonArrivals(kind="poisson", rate=2.0, requests=40_000)))
    assert statistics.pstdev(poisson) == pytest.approx(0.5, rel=0.05)
    assert statistics.median(poisson) == pytest.approx(0.5 * 0.6931, rel=0.05)
    constant = arrival_times_s(ConstantArrivals(kind="constant", rate=2.0, requests=4))
    assert constant == [0.5, 1.0, 1.5, 2.0]


def test_at_every_rate_the_pattern_is_the_same_and_seeds_differ() -> None:
    def times(rate: float, seed: int) -> list[float]:
        return arrival_times_s(PoissonArrivals(kind="poisson", rate=rate, requests=9, seed=seed))

    assert times(4.0, 0) == pytest.approx([at / 4 for at in times(1.0, 0)])
    assert times(1.0, 0) != times(1.0, 1)


def test_all_samples_come_up_equally_often_whatever_the_rate() -> None:
    found = choices(3, 25, 10)
    assert found == choices(3, 25, 10) != choices(4, 25, 10)
    assert sorted(found[:10]) == sorted(found[10:20]) == list(range(10))
    assert len(set(found[20:])) == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AZURE_2023, [(0.0, 374, 44, 0), (4.314579, 396, 109, 0)]),
        (AZURE_2024, [(0.0, 2162, 5, 0), (0.007405, 2399, 6, 0)]),
        (AZURE_LMM, [(0.0, 1500, 40, 2), (2.0, 300, 12, 0)]),
        (BURST_GPT, [(0.0, 472, 18, 0), (113.0, 417, 276, 0)]),
        ("\ufeff" + AZURE_2023, [(0.0, 374, 44, 0), (4.314579, 396, 109, 0)]),
    ],
    ids=["azure llm 2023", "azure llm 2024", "azure lmm 2025", "burstgpt", "with a mark"],
)
def test_published_traces_are_read(
    text: str, expected: list[tuple[float, int, int, int]], tmp_path: Path
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    rows = read_trace(path)
    assert [(r.num_prompt_tokens, r.num_tokens, r.num_images) for r in rows] == [
        one[1:] for one in expected
    ]
    assert [r.arrival_s for r in rows] == pytest.approx([one[0] for one in expected], abs=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TIMESTAMP,ContextTokens\n1,2\n", "line 1: there is no column GeneratedTokens or Respon"),
        ("", "line 1: there is no column TIMESTAMP or Timestamp; got no header"),
        (AZURE_2023 + "2023-11-16 18:15:01,1,1\n", "line 4: TIMESTAMP decreases"),
        (AZURE_2023 + "yesterday,1,1\n", "line 4: TIMESTAMP must be seconds or ISO 8601"),
        (AZURE_2023 + "2023-11-16 18:16:00,1.5,1\n", "ContextTokens must be a whole number.*'1.5'"),
        (AZURE_2023 + "2023-11-16 18:16:00,1,-1\n", "GeneratedTokens must be a whole number"),
        (AZURE_2023 + "2023-11-16 18:16:00,1\n", "GeneratedTokens must be a whole number.*None"),
        (AZURE_2023 + "nan,1,1\n", "line 4: TIMESTAMP must be seconds"),
    ],
)
def test_what_is_no_trace_is_refused_by_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TraceError, match=words):
        read_trace(path)


def test_a_part_of_a_trace_faster(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    lines = [f"{at},10,5" for at in range(10)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]) + "\n")
    part = TraceArrivals(kind="trace", file=path, start_s=2, duration_s=5, speed=2.0, requests=3)
    assert [row.arrival_s for row in trace_rows(part)] == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="no request from second 50 on"):
        trace_rows(part.model_copy(update={"start_s": 50.0}))
    with pytest.raises(TraceError, match="No such file"):
        trace_rows(part.model_copy(update={"file": tmp_path / "none.csv"}))


WITH_ADAPTERS = """TIMESTAMP,ContextTokens,GeneratedTokens,lora
1,10,5,red
2,10,0,
3,10,5, blue
4,10,5,red
"""


def test_a_column_says_what_each_request_is_under(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(WITH_ADAPTERS, encoding="utf-8")
    assert [row.adapter for row in read_trace(path, "lora")] == ["red", "blue", "red"]
    assert {row.adapter for row in read_trace(path)} == {None}
    part = TraceArrivals(kind="trace", file=path, start_s=1)
    assert [row.adapter for row in trace_rows(part, "lora")] == ["blue", "red"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            AZURE_2023,
            "line 1: there is no column 'lora', which adapters.skew.column names; got TIM",
        ),
        (WITH_ADAPTERS + "5,10,5,\n", "line 6: lora is empty; every request is under an adapter"),
        (WITH_ADAPTERS + "5,10,5\n", "line 6: lora is empty"),
    ],
)
def test_columns_that_do_not_say_so_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TraceError, match=words):
        read_trace(path, "lora")
