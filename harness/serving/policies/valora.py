"""VaLoRA's policy: one adapter in the weights while that serves sooner, and nobody starves.

Mi et al., VaLoRA, EuroSys 2025, arXiv 2411.00915, section 4.4. A request starves once its credit
(waited, expected service, a switch) is above a threshold. An adapter that many ask under is merged;
those that starve join it in mixed mode, where that is allowed and the adapter has more than half of
a batch, of which at most half starve.

Ours are two things. Measured costs decide in place of the paper's constant one half: of three plans
for the requests that are there (all unmerged, one adapter after another in the weights, the next
one in the weights and the others unmerged), the one after which they end soonest on average is
begun. And where mixing is not allowed, adapters whose requests starve take turns in the weights,
each as long as the threshold and until those that it has begun have ended, by their sums of credit;
the paper serves all unmerged.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode, merged, mixed
from encodeonce.harness.serving.adapters.queues import commonest, everybody, only, serve
from encodeonce.harness.serving.policy import PREPARING, Action, View, Wait
from encodeonce.harness.serving.request import Request, State

MOST_STARVING = 0.5
LEAST_COMMON = 0.5
_MEMORY = 0.9
"""Weight of the past in the mean seconds of a first token's actions."""


class ValoRA:
    """Chooses a mode before every action."""

    may_idle: ClassVar[bool] = False
    merges: ClassVar[bool] = True

    def __init__(self) -> None:
        """Begin unmerged, without an estimate of a request's service."""
        self._service_s = dict.fromkeys(PREPARING, 0.0)
        self._merged: int | None = None
        self._since_s = 0.0
        self._planned: tuple[int | None, ...] = ()
        self._is_merging = False

    def choose(self, view: View) -> Action | Wait:
        """Serve one adapter alone, it and the starving, or everybody."""
        if view.merged != self._merged:
            self._merged, self._since_s = view.merged, view.now_s
        everyone = everybody(view)
        most = min(view.limits.max_running, len(everyone))
        starving = [one for one in everyone if self._credit(one, view) > view.terms.patience_s]
        hot, count = commonest(everyone)
        others = [one for one in starving if one.demand.adapter != hot]
        is_common = count > LEAST_COMMON * most and len(starving) <= MOST_STARVING * most
        if hot is not None and others and is_common and view.terms.allow_mixed:
            mine = [one for one in everyone if one.demand.adapter == hot][: most - len(others)]
            return _served(view, mixed(hot), (*mine, *others))
        is_over = bool(starving) and view.now_s - self._since_s >= view.terms.patience_s
        admitted = _under(self._merged, (*view.running, *view.prefilled))
        if self._merged is not None and is_over and admitted:
            return _served(view, merged(self._merged), admitted)  # they end, and nobody joins
        turn = self._turn(view, everyone, starving)
        if is_over:
            self._since_s = view.now_s  # another turn, if only of the same adapter
        if turn is None or not self._merges(view, everyone, turn):
            return serve(view, UNMERGED)
        return _served(view, merged(turn), _under(turn, everyone))

    def done(self, action: Action, seconds: float) -> None:
        """Take note of what the way to a first token takes."""
        if action.stage in self._service_s and action.requests:
            before, mine = self._service_s[action.stage], seconds / len(action.requests)
            self._service_s[action.stage] = _MEMORY * before + (1 - _MEMORY) * mine

    def _credit(self, request: Request, view: View) -> float:
        """Return the seconds since a request's last token, or its arrival, and until the next."""
        waited_s = view.now_s - (request.since_s if request.times_s else request.arrival_s)
        return waited_s + sum(self._service_s.values()) + view.terms.switch_s

    def _turn(
        self, view: View, everyone: Sequence[Request], starving: Sequence[Request]
    ) -> int | None:
        """Return the adapter that would be the next in the weights."""
        has_some = any(one.demand.adapter == self._merged for one in everyone)
        is_fresh = view.now_s - self._since_s < view.terms.patience_s
        if self._merged is not None and has_some and (is_fresh or not starving):
            return self._merged
        by_adapter: dict[int, float] = {}
        for one in starving:
            if (adapter := one.demand.adapter) is not None:
                by_adapter[adapter] = by_adapter.get(adapter, 0.0) + self._credit(one, view)
        usual, _ = commonest(everyone)
        return max(by_adapter, key=lambda one: (by_adapter[one], -one), default=usual)

    def _merges(self, view: View, everyone: Sequence[Request], turn: int) -> bool:
        """Return whether an adapter is to be in the weights; planned anew when somebody comes."""
        if view.seconds is None:
            return True
        asked = (turn, self._merged, *(one.number for one in everyone))
        if asked != self._planned:
            self._planned = asked
            self._is_merging = _is_sooner(view, view.seconds, everyone, turn)
        return self._is_merging


def _under(adapter: int | None, requests: Sequence[Request]) -> list[Request]:
    return [one for one in requests if one.demand.adapter == adapter]


def _served(view: View, mode: Mode, chosen: Sequence[Request]) -> Action | Wait:
    """Serve some in a mode, if one of them can go on; else everybody unmerged."""
    wanted = set(map(id, chosen))
    found = serve(only(view, lambda one: id(one) in wanted), mode)
    return found if isinstance(found, Action) else serve(view, UNMERGED)


Estimate = Callable[..., float]


def _is_sooner(view: View, seconds: Estimate, everyone: Sequence[Request], turn: int) -> bool:
    """Return whether requests end sooner on average if an adapter is merged first."""
    switch_s = view.terms.switch_s
    away_s = switch_s if view.merged is not None else 0.0
    unmerged_s = (away_s + _rest_s(seconds, everyone, UNMERGED)) * len(everyone)
    first, rest = _under(turn, everyone), [o for o in everyone if o.demand.adapter != turn]
    at_s = _rest_s(seconds, first, merged(turn)) + (switch_s if view.merged != turn else 0.0)
    so_far_s = at_s * len(first)
    then_unmerged_s = so_far_s
    if rest:
        then_unmerged_s += (at_s + switch_s + _rest_s(seconds, rest, UNMERGED)) * len(rest)
    turns_s = so_far_s
    while rest:
        adapter, _ = commonest(rest)
        mode = UNMERGED if adapter is None else merged(adapter)
        mine = _under(adapter, rest)
        at_s += switch_s + _rest_s(seconds, mine, mode)
        turns_s += at_s * len(mine)
        rest = [one for one in rest if one.demand.adapter != adapter]
    return min(turns_s, then_unmerged_s) < unmerged_s


def _rest_s(seconds: Estimate, requests: Sequence[Request], mode: Mode) -> float:
    """Return the seconds until requests have ended that are served together, and nobody else."""
    prompts = [one for one in requests if one.state in (State.WAITING, State.ENCODED)]
    num_steps = max(one.demand.max_tokens - max(1, one.num_emitted) for one in requests)
    return seconds("prefill", prompts, mode) + num_steps * seconds("decode", requests, mode)


POLICY = ValoRA
