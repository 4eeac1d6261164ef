"""A scheduler for requests that arrive from outside, one by one, while it runs.

It runs in a thread of its own; who submits a request hears of every token by a callback.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from encodeonce.harness.serving.engine import Step, WallClock
from encodeonce.harness.serving.policy import Stage
from encodeonce.harness.serving.remote import Piece
from encodeonce.harness.serving.request import Demand, Request, State
from encodeonce.harness.serving.scheduler import Scheduler

POLL_S = 1.0
"""How long an idle scheduler sleeps at most; whoever submits something wakes it."""


class LiveClock(WallClock):
    """Goes by itself, and can be woken."""

    def __init__(self) -> None:
        """Begin now."""
        super().__init__()
        self.woken = threading.Event()

    def wait_until(self, until_s: float) -> None:
        """Sleep until then, or until woken."""
        self.woken.wait(max(0.0, until_s - self.now_s))
        self.woken.clear()


class LiveSource:
    """Requests that others submit."""

    def __init__(self, clock: LiveClock) -> None:
        """Begin with none."""
        self._clock = clock
        self._new: queue.SimpleQueue[tuple[int, Demand]] = queue.SimpleQueue()
        self._is_open = True

    def submit(self, number: int, demand: Demand) -> None:
        """Let a request arrive now."""
        self._new.put((number, demand))
        self._clock.woken.set()

    def close(self) -> None:
        """Let the scheduler end once all are answered."""
        self._is_open = False
        self._clock.woken.set()

    def due(self, now_s: float) -> Iterator[Request]:
        """Yield those that have arrived."""
        while not self._new.empty():
            number, demand = self._new.get()
            yield Request(number=number, arrival_s=now_s, demand=demand)

    def next_s(self) -> float:
        """Return when to look again."""
        return self._clock.now_s + POLL_S if self._is_open else float("inf")

    def ended(self, request: Request) -> None:
        """Do nothing."""


class LiveScheduler(Scheduler):
    """Tells of every token, and of every end."""

    def __init__(
        self,
        *arguments: Any,
        on_piece: Callable[[Request, Piece], None],
        on_end: Callable[[Request], None],
        **options: Any,
    ) -> None:
        """Take what `Scheduler` takes, and two callbacks.

        Args:
            *arguments: of `Scheduler`.
            on_piece: called with each token of a request.
            on_end: called when a request has ended; its ``error`` says whether it failed.
            **options: of `Scheduler`.
        """
        super().__init__(*arguments, **options)
        self._on_piece, self._on_end = on_piece, on_end

    def _stamp(self, stage: Stage, requests: Sequence[Request]) -> None:
        before = [one.num_emitted for one in requests]
        super()._stamp(stage, requests)
        for request, count in zip(requests, before, strict=True):
            if request.num_emitted > count:
                self._on_piece(request, Piece())

    def _move(self, stage: Stage, requests: Sequence[Request], step: Step) -> None:
        super()._move(stage, requests, step)
        for request in requests:
            if request.state in (State.DONE, State.FAILED):
                self._on_end(request)
