"""VaLoRA's policy: merged while one adapter is common and nobody starves, else mixed or unmerged.

Mi et al., VaLoRA, EuroSys 2025, arXiv 2411.00915, section 4.4, algorithm 1. A request starves when
its credit (waited, expected service, a switch) is above a threshold. Where the commonest adapter
has more than half of a batch, and at most half of it starve, that adapter is merged; the starving
join it in mixed mode where that is allowed, and are served unmerged where it is not. Ours: only if
the costs say that an adapter in the weights gives more tokens a second, and that what is won until
its requests end pays for switching there and back.
"""

from collections.abc import Sequence
from typing import ClassVar

from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode, merged, mixed
from encodeonce.harness.serving.adapters.queues import commonest, everybody, only, serve
from encodeonce.harness.serving.policy import PREPARING, Action, View, Wait
from encodeonce.harness.serving.request import Request

MOST_STARVING = 0.5
LEAST_COMMON = 0.5
_MEMORY = 0.9
"""Weight of the past in the mean seconds of a first token's actions."""


class ValoRA:
    """Chooses a mode before every action."""

    may_idle: ClassVar[bool] = False
    merges: ClassVar[bool] = True

    def __init__(self) -> None:
        """Begin without an estimate of a request's service."""
        self._service_s = dict.fromkeys(PREPARING, 0.0)

    def choose(self, view: View) -> Action | Wait:
        """Serve the common adapter alone, it and the starving, or everybody."""
        everyone = everybody(view)
        most = min(view.limits.max_running, len(everyone))
        starving = [one for one in everyone if self._credit(one, view) > view.terms.patience_s]
        hot, count = commonest(everyone)
        if hot is None or len(starving) > MOST_STARVING * most or count <= LEAST_COMMON * most:
            return serve(view, UNMERGED)
        others = [one for one in starving if one.demand.adapter != hot]
        if others and not view.terms.allow_mixed:
            return serve(view, UNMERGED)
        mode = mixed(hot) if others else merged(hot)
        mine = [one for one in everyone if one.demand.adapter == hot][: most - len(others)]
        chosen = set(map(id, (*mine, *others)))
        if not _pays(view, mode, everyone[:most], (*mine, *others)):
            return serve(view, UNMERGED)
        found = serve(only(view, lambda one: id(one) in chosen), mode)
        return found if isinstance(found, Action) else serve(view, UNMERGED)

    def done(self, action: Action, seconds: float) -> None:
        """Take note of what the way to a first token takes."""
        if action.stage in self._service_s and action.requests:
            before, mine = self._service_s[action.stage], seconds / len(action.requests)
            self._service_s[action.stage] = _MEMORY * before + (1 - _MEMORY) * mine

    def _credit(self, request: Request, view: View) -> float:
        """Return the seconds since a request was last served, and until it can be."""
        waited_s = view.now_s - request.since_s
        return waited_s + sum(self._service_s.values()) + view.terms.switch_s


def _pays(view: View, mode: Mode, everyone: Sequence[Request], chosen: Sequence[Request]) -> bool:
    """Return whether serving some in a mode gives more tokens a second than all unmerged.

    What is won until they end, against switching there and back; nothing to pay for an adapter that
    is in the weights already.
    """
    if view.step_s is None:
        return True
    all_s = view.step_s(everyone, UNMERGED) / len(everyone)
    some_s = view.step_s(chosen, mode) / len(chosen)
    num_left = sum(one.demand.max_tokens - one.num_emitted for one in chosen)
    switches_s = 0.0 if view.merged == mode.adapter else 2 * view.terms.switch_s
    return num_left * (all_s - some_s) > switches_s


POLICY = ValoRA
