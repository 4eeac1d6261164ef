"""Sends a workload to somebody else who schedules it: a server over HTTP, or replicas.

Requests are sent when they are due, however many are on their way. A token's time is when its piece
of text arrived.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from encodeonce.harness.run.record import SampleError
from encodeonce.harness.serving.arrivals import Source
from encodeonce.harness.serving.engine import WallClock
from encodeonce.harness.serving.monitor import Monitor
from encodeonce.harness.serving.request import Request, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of an answer, as it is sent on."""

    text: str = ""
    is_token: bool = True
    token_ids: Sequence[int] = ()
    """Of the whole answer, with its last piece."""


Stream = Callable[[Request], AsyncIterator[Piece]]
"""Asks for an answer, and yields it."""


class RemoteWorkload:
    """One workload that is served elsewhere.

    Attributes:
        texts: the answers, by request.
    """

    def __init__(self, source: Source, stream: Stream, monitor: Monitor) -> None:
        """Take a workload that has not begun."""
        self._source, self._stream, self._monitor = source, stream, monitor
        self._clock = WallClock()
        self._on_way: set[asyncio.Task[Request]] = set()
        self.texts: dict[int, str] = {}

    async def run(self) -> list[Request]:
        """Send all requests; return them, in order of number, when all have ended."""
        everybody: list[Request] = []
        self._clock = WallClock()
        while True:
            for request in self._source.due(self._clock.now_s):
                request.queue_length = len(self._on_way)
                everybody.append(request)
                self._on_way.add(asyncio.create_task(self._ask(request)))
            self._monitor.note(self._clock.now_s, len(self._on_way), 0, 0)
            next_s = self._source.next_s()
            if not self._on_way:
                if next_s == math.inf:
                    return sorted(everybody, key=lambda one: one.number)
                await asyncio.sleep(max(0.0, next_s - self._clock.now_s))
                continue
            timeout = None if next_s == math.inf else max(0.0, next_s - self._clock.now_s)
            ended, self._on_way = await asyncio.wait(
                self._on_way, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for task in sorted(ended, key=lambda one: one.result().number):
                self._source.ended(task.result())

    async def _ask(self, request: Request) -> Request:
        """Have one request answered; whatever goes wrong fails it alone."""
        pieces = []
        began_s = self._clock.now_s
        try:
            async for piece in self._stream(request):
                pieces.append(piece.text)
                if piece.is_token:
                    request.times_s.append(self._clock.now_s)
            if not request.times_s:
                request.error = "EmptyAnswer: the stream ended without a token"
        except Exception as error:
            reason = SampleError.of(error)
            request.error = f"{reason.type}: {reason.message}"
        request.state = State.FAILED if request.error else State.DONE
        request.ended_s = self._clock.now_s
        request.queue_s["serve"] = began_s - request.arrival_s
        request.stage_s["serve"] = request.ended_s - began_s
        self.texts[request.number] = "".join(pieces).strip()
        return request
