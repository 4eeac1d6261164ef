"""One adapter at a time, in the weights, until nobody asks under it: the offline optimum."""

from typing import ClassVar

from encodeonce.harness.serving.adapters.modes import UNMERGED, merged
from encodeonce.harness.serving.adapters.queues import commonest, everybody, only, serve
from encodeonce.harness.serving.policy import Action, View, Wait


class MergedOnly:
    """Empties one adapter's queue, then takes the longest."""

    may_idle: ClassVar[bool] = False
    merges: ClassVar[bool] = True

    def __init__(self) -> None:
        """Begin without an adapter."""
        self._adapter: int | None = None

    def choose(self, view: View) -> Action | Wait:
        """Go on with the adapter in the weights."""
        everyone = everybody(view)
        if not any(one.demand.adapter == self._adapter for one in everyone):
            self._adapter, _ = commonest(everyone)
        if self._adapter is None:
            return serve(view, UNMERGED)
        mine = only(view, lambda one: one.demand.adapter == self._adapter)
        return serve(mine, merged(self._adapter))

    def done(self, action: Action, seconds: float) -> None:
        """Remember nothing more."""


POLICY = MergedOnly
