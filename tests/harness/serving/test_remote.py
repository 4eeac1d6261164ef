"""Workloads that are served elsewhere: who is asked when, and what becomes of failures."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from encodeonce.harness.serving.arrivals import ClosedSource, OpenSource
from encodeonce.harness.serving.monitor import Monitor
from encodeonce.harness.serving.remote import Piece, RemoteWorkload
from encodeonce.harness.serving.request import Request, State
from tests.harness.serving.scenes import a_demand


async def two_tokens(request: Request) -> AsyncIterator[Piece]:
    await asyncio.sleep(0.02)
    yield Piece(text="a")
    await asyncio.sleep(0.02)
    yield Piece(text=f"{request.number}")


def test_requests_are_sent_when_they_are_due_and_run_beside_each_other() -> None:
    source = OpenSource([0.0, 0.01, 0.3], [a_demand()] * 3)
    workload = RemoteWorkload(source, two_tokens, Monitor(0.01))
    first, second, third = asyncio.run(workload.run())
    assert workload.texts == {0: "a0", 1: "a1", 2: "a2"}
    assert second.times_s[0] < first.times_s[-1]
    assert third.times_s[0] > 0.3
    assert [one.queue_length for one in (first, second, third)] == [0, 1, 0]
    assert 0.01 < first.times_s[1] - first.times_s[0] < 0.2


def test_users_wait_for_their_answers() -> None:
    workload = RemoteWorkload(ClosedSource([a_demand()] * 4, 1, 0.0), two_tokens, Monitor(1.0))
    requests = asyncio.run(workload.run())
    for before, after in zip(requests, requests[1:], strict=False):
        assert before.ended_s is not None
        assert after.arrival_s >= before.ended_s


def test_what_goes_wrong_fails_one_request_alone() -> None:
    async def stream(request: Request) -> AsyncIterator[Piece]:
        if request.number == 1:
            raise ConnectionError("reset")
        if request.number == 2:
            return
        yield Piece(text="fine")

    workload = RemoteWorkload(OpenSource([0.0] * 4, [a_demand()] * 4), stream, Monitor(1.0))
    requests = asyncio.run(workload.run())
    assert [one.state for one in requests].count(State.FAILED) == 2
    assert [one.error for one in requests] == [
        None,
        "ConnectionError: reset",
        "EmptyAnswer: the stream ended without a token",
        None,
    ]


def test_a_piece_without_a_token_has_no_time() -> None:
    async def stream(request: Request) -> AsyncIterator[Piece]:
        yield Piece()
        yield Piece(text="whole", is_token=False, token_ids=(1,))

    workload = RemoteWorkload(OpenSource([0.0], [a_demand()]), stream, Monitor(1.0))
    (one,) = asyncio.run(workload.run())
    assert (one.num_emitted, workload.texts[0]) == (1, "whole")
    assert one.ended_s == pytest.approx(one.times_s[0], abs=0.1)
