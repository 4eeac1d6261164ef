"""dLoRA's policy: one adapter in the weights while it is common enough, with hysteresis.

Wu et al., dLoRA, OSDI 2024, section 4.1. The thresholds are those in VaLoRA's copy of it: merging
begins above `ALPHA` times the batch and ends below `BETA` times. Unmerged, rows have their factors
gathered, as its einsum does.
"""

from typing import ClassVar

from encodeonce.harness.serving.adapters.modes import UNMERGED, merged
from encodeonce.harness.serving.adapters.queues import commonest, everybody, only, serve
from encodeonce.harness.serving.policy import Action, View, Wait

ALPHA = 1.0
BETA = 0.5


class DLoRA:
    """Merges above one threshold, and goes back below another."""

    may_idle: ClassVar[bool] = False
    merges: ClassVar[bool] = True
    lora: ClassVar[str] = "gather"

    def __init__(self) -> None:
        """Begin unmerged."""
        self._adapter: int | None = None

    def choose(self, view: View) -> Action | Wait:
        """Serve the common adapter alone, or everybody."""
        everyone, most = everybody(view), view.limits.max_running
        if self._adapter is None:
            hot, count = commonest(everyone)
            if count > ALPHA * most:
                self._adapter = hot
        elif sum(one.demand.adapter == self._adapter for one in everyone) < BETA * most:
            self._adapter = None
        if self._adapter is None:
            return serve(view, UNMERGED)
        mine = only(view, lambda one: one.demand.adapter == self._adapter)
        return serve(mine, merged(self._adapter))

    def done(self, action: Action, seconds: float) -> None:
        """Remember nothing more."""


POLICY = DLoRA
