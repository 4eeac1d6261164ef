"""FastCache's scheduler as its published code behaves, for the comparison only.

Three things differ from what is meant (`fastcache`). Its queue is a heap whose smallest number
comes first, although a larger one is more urgent: the least urgent is served. It waits up to W for
a full batch of prompts, and running requests stand still meanwhile. The size of that batch is never
adapted. A fourth is left out, as it would change what is asked: there, a request may be given the
length of another one's answer.
"""

from typing import ClassVar

from encodeonce.harness.serving.policies.fastcache import MAX_WAIT_S, priority
from encodeonce.harness.serving.policy import Action, View, Wait, decode_or_wait, may_admit

BATCH = 15
"""Prompts that it waits for; of its three sizes (15, 45, 90) the first."""


class FastCachePublished:
    """Serves the least urgent first, and lets everybody wait for a full batch."""

    may_idle: ClassVar[bool] = True

    def __init__(self) -> None:
        """Begin as if a prefill had just been done."""
        self._last_s = 0.0
        self._now_s = 0.0

    def choose(self, view: View) -> Action | Wait:
        """Wait for a full batch; decode only where nobody waits, or nobody fits."""
        self._now_s = view.now_s
        if view.prefilled:
            return Action("compress", view.prefilled)
        queue = sorted(
            [*view.encoded, *view.waiting],
            key=lambda one: (priority(one, view.now_s), one.arrival_s, one.number),
        )
        if queue and may_admit(view, queue[:1]):
            due_s = self._last_s + MAX_WAIT_S
            if len(queue) < BATCH and view.now_s < due_s:
                return Wait(due_s)
            if queue[0] not in set(view.encoded):
                return Action("encode", queue[:1])
            return Action("prefill", queue[:1])
        return decode_or_wait(view)

    def done(self, action: Action, seconds: float) -> None:
        """Take note of when the last prefill began."""
        if action.stage == "prefill":
            self._last_s = self._now_s


POLICY = FastCachePublished
