"""FastCache's scheduler (Zhu et al., 2025, arXiv 2503.08461, section 3.4) as it is meant.

A waiting request's priority grows with its waiting time w and falls with its prompt's length n::

    p = clamp(100 min(w / W, 1) (2 - n / 2048), 0, 100);   for new requests 100 (1 - n / 2048)

The highest is served first. Prefill has its turn where more wait than 1.2 times those that run,
where nothing runs, or where the oldest has waited for W / 10. How many prompts are prefilled
together follows the throughput by a proportional-integral-derivative controller.
"""

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

from encodeonce.harness.serving.policy import (
    Action,
    View,
    Wait,
    decode_or_wait,
    may_admit,
)
from encodeonce.harness.serving.request import Request

MAX_WAIT_S = 5.0
"""W."""
LONG_PROMPT = 2048
"""Tokens of a prompt that has no priority when it is new."""
MORE_WAIT = 1.2
GAINS = 0.5, 0.2, 0.1
"""Of the error, of its sum and of its change."""
MOST_SUMMED = 10.0
NUM_REMEMBERED = 50


def priority(request: Request, now_s: float) -> float:
    """Return how urgent a waiting request is, 0 to 100."""
    length = request.demand.num_prompt_tokens / LONG_PROMPT
    waited_s = now_s - request.arrival_s
    if waited_s <= 0:
        return 100.0 * (1.0 - length)
    urgent = 100.0 * min(waited_s / MAX_WAIT_S, 1.0) * (2.0 - length)
    return min(max(urgent, 0.0), 100.0)


class FastCache:
    """Serves the most urgent first, and adapts how many at once."""

    may_idle: ClassVar[bool] = False

    def __init__(self) -> None:
        """Begin with one prompt at a time."""
        self.batch = 1
        self._rates: deque[float] = deque(maxlen=NUM_REMEMBERED)
        self._summed = self._before = 0.0
        self._most = 1

    def choose(self, view: View) -> Action | Wait:
        """Finish who is on the way; then prefill if it is prefill's turn; else decode."""
        self._most = view.limits.prefill_requests
        if view.prefilled:
            return Action("compress", view.prefilled)
        queue = [*view.encoded, *view.waiting]
        if queue and self._is_prefills_turn(view, queue):
            first = self._in_order(queue, view.now_s)
            if found := self._prepare(view, first):
                return found
        return decode_or_wait(view)

    def done(self, action: Action, seconds: float) -> None:
        """Adapt the batch to the throughput of the last prefill."""
        if action.stage != "prefill" or seconds <= 0:
            return
        rate = len(action.requests) / seconds
        if self._rates:
            usual = sum(self._rates) / len(self._rates)
            error = (rate - usual) / usual
            self._summed = min(max(self._summed + error, -MOST_SUMMED), MOST_SUMMED)
            of_error, of_sum, of_change = GAINS
            change = of_error * error + of_sum * self._summed
            change += of_change * (error - self._before)
            self._before = error
            self.batch = min(max(self.batch + round(change), 1), self._most)
        self._rates.append(rate)

    def _is_prefills_turn(self, view: View, queue: Sequence[Request]) -> bool:
        oldest_s = min(one.arrival_s for one in queue)
        return (
            not view.running
            or len(queue) > MORE_WAIT * len(view.running)
            or view.now_s - oldest_s >= 0.1 * MAX_WAIT_S
        )

    def _in_order(self, queue: Sequence[Request], now_s: float) -> list[Request]:
        return sorted(queue, key=lambda one: (-priority(one, now_s), one.arrival_s, one.number))

    def _prepare(self, view: View, first: Sequence[Request]) -> Action | None:
        """Return the next stage of the first requests."""
        some = list(first[: self.batch])
        while len(some) > 1 and not may_admit(view, some):
            some.pop()
        if not may_admit(view, some):
            return None
        encoded = set(view.encoded)
        lacking = [one for one in some if one not in encoded]
        return Action("encode", lacking) if lacking else Action("prefill", some)


POLICY = FastCache
