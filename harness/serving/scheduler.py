"""The scheduler: lets requests through their stages, one action at a time, within the limits.

A policy proposes; the scheduler cuts the proposal to the limits and to the memory, has the engine
carry it out, and books the time. Ties are broken by the request's number.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode, Terms
from encodeonce.harness.serving.arrivals import Source
from encodeonce.harness.serving.config import Preemption
from encodeonce.harness.serving.engine import Clock, Engine, Step, Work, first_token_stage
from encodeonce.harness.serving.ledger import Ledger
from encodeonce.harness.serving.loads import Limits
from encodeonce.harness.serving.monitor import Monitor
from encodeonce.harness.serving.policy import (
    PREPARING,
    Action,
    Policy,
    Stage,
    View,
    Wait,
)
from encodeonce.harness.serving.request import Request, State
from encodeonce.harness.serving.totals import Totals

_AFTER: dict[Stage, State] = {"encode": State.ENCODED, "compress": State.RUNNING}


class Scheduler:
    """One workload on one engine."""

    def __init__(
        self,
        source: Source,
        engine: Engine,
        policy: Policy,
        clock: Clock,
        limits: Limits,
        monitor: Monitor,
        *,
        preempt: Preemption = "none",
        shares_prefixes: bool = False,
        terms: Terms | None = None,
    ) -> None:
        """Take a workload that has not begun; ``limits`` has a single cap on bytes."""
        self._terms = terms or Terms()
        self._merged: int | None = None
        self._source, self._engine, self._policy = source, engine, policy
        self._clock, self._limits, self._monitor = clock, limits, monitor
        self._preempt, self._shares = preempt, shares_prefixes
        self._ledger = Ledger(
            limits.kv_bytes[0], preempt, shares_prefixes=shares_prefixes, on_evict=engine.forget
        )
        self._queues: dict[State, list[Request]] = {
            state: [] for state in State if state not in (State.DONE, State.FAILED)
        }
        self.totals = Totals()

    def run(self) -> list[Request]:
        """Serve all requests; return them in order of number."""
        everybody: list[Request] = []
        while True:
            now_s = self._clock.now_s
            for request in self._source.due(now_s):
                everybody.append(request)
                self._arrive(request)
            self._note()
            if not any(self._queues.values()):
                if (next_s := self._source.next_s()) == math.inf:
                    break
                self._clock.wait_until(next_s)
                continue
            self._act()
        self.totals.peak_reserved_bytes = self._ledger.peak
        self.totals.ended_s = self._clock.now_s
        return sorted(everybody, key=lambda one: one.number)

    def _arrive(self, request: Request) -> None:
        request.queue_length = len(self._queues[State.WAITING]) + len(self._queues[State.ENCODED])
        request.since_s = request.arrival_s
        self._queues[State.WAITING].append(request)

    def _act(self) -> None:
        """Carry out one action, or wait."""
        if self._swap_in():
            return
        proposed = self._policy.choose(self._view())
        next_s = self._source.next_s()
        if isinstance(proposed, Wait):
            until_s = min(proposed.until_s, next_s)
            if self._policy.may_idle and until_s != math.inf:
                self._clock.wait_until(until_s)
                return
            action = self._any_work()
        else:
            action = self._cut(proposed) or self._any_work()
        if action is not None:
            self._carry_out(action)
        elif next_s != math.inf:
            self._clock.wait_until(next_s)
        else:
            raise RuntimeError("requests wait, and none of them can go on")

    def _view(self) -> View:
        return View(
            now_s=self._clock.now_s,
            waiting=tuple(self._queues[State.WAITING]),
            encoded=tuple(self._queues[State.ENCODED]),
            prefilled=tuple(self._queues[State.PREFILLED]),
            running=tuple(self._queues[State.RUNNING]),
            limits=self._limits,
            fits=self._fits,
            merged=self._merged,
            terms=self._terms,
            seconds=getattr(self._engine, "seconds", None),
        )

    def _fits(self, some: Sequence[Request]) -> bool:
        return self._ledger.fits(some, self._ahead())

    def _ahead(self) -> int:
        """Return the bytes that the next step of those that run will add."""
        if self._preempt == "none":
            return 0
        return sum(one.demand.token_bytes for one in self._queues[State.RUNNING])

    def _any_work(self) -> Action | None:
        """Return the first stage that has something to do."""
        view = self._view()
        for stage in (*PREPARING, "decode"):
            if (queue := view.queue(stage)) and (action := self._cut(Action(stage, queue))):
                return action
        return None

    def _cut(self, action: Action) -> Action | None:
        """Return as much of an action as the limits and the memory allow; None for nothing."""
        some: Sequence[Request] = [one for one in action.requests if action.may(one)]
        if action.stage == "encode":
            some = self._some_units(some)
        elif action.stage == "prefill":
            some = self._some_prompts(some)
        elif action.stage == "compress":
            some = some[: self._limits.compress_requests]
        return replace(action, requests=tuple(some)) if some else None

    def _some_units(self, requests: Sequence[Request]) -> Sequence[Request]:
        total, count = 0, 0
        for request in requests:
            total += request.demand.num_units
            if count and total > self._limits.encode_units:
                break
            count += 1
        return requests[:count]

    def _some_prompts(self, requests: Sequence[Request]) -> Sequence[Request]:
        admitted = len(self._queues[State.PREFILLED]) + len(self._queues[State.RUNNING])
        places = self._limits.max_running - admitted
        most = min(self._limits.prefill_requests, places)
        some: list[Request] = []
        num_tokens = 0
        for request in requests[: max(0, most)]:
            is_hit = self._shares and self._ledger.is_resident(request.demand.media)
            demand = request.demand
            num_tokens += demand.num_question_tokens if is_hit else demand.num_prompt_tokens
            if num_tokens > self._limits.prefill_tokens or not self._fits([*some, request]):
                break
            some.append(request)
        return some

    def _carry_out(self, action: Action) -> None:
        requests = list(action.requests)
        if action.stage == "decode":
            self._make_room(self._decoded(action))
            requests = self._decoded(action)
        elif action.stage == "prefill":
            for request in requests:
                self._ledger.admit(request)
                self.totals.num_hits += request.is_hit
                self.totals.num_misses += self._shares and not request.is_hit
        step = self._run(action.stage, requests, action.mode)
        self._policy.done(action, step.seconds)
        self._stamp(action.stage, requests)
        self._move(action.stage, requests, step)

    def _decoded(self, action: Action) -> list[Request]:
        """Return who a decode step is over: all that run, unless an adapter is in the weights."""
        running = self._queues[State.RUNNING]
        if action.mode.kind == "unmerged":
            return list(running)
        wanted = set(map(id, action.requests))
        return [one for one in running if id(one) in wanted and action.may(one)]

    def _run(self, work: Work, requests: Sequence[Request], mode: Mode = UNMERGED) -> Step:
        """Have an action carried out, and book its time on everybody in it."""
        began_s = self._clock.now_s
        step = self._engine.run(work, requests, mode)
        self._clock.pass_by(step.seconds)
        if work in ("prefill", "compress", "decode"):
            self.totals.num_switches += mode.adapter != self._merged
            self._merged = mode.adapter
            self.totals.merged_s += step.seconds * (mode.kind == "merged")
            self.totals.mixed_s += step.seconds * (mode.kind == "mixed")
        for request in requests:
            waited_s = began_s - request.since_s
            request.queue_s[work] = request.queue_s.get(work, 0.0) + waited_s
            request.stage_s[work] = request.stage_s.get(work, 0.0) + step.seconds
            request.since_s = self._clock.now_s
        self.totals.num_actions += 1
        allocated = self._engine.allocated_bytes
        self.totals.peak_allocated_bytes = max(self.totals.peak_allocated_bytes, allocated)
        return step

    def _stamp(self, stage: Stage, requests: Sequence[Request]) -> None:
        """Give tokens the time of the action's end."""
        now_s = self._clock.now_s
        if stage == "decode":
            self.totals.num_steps += 1
            self.totals.num_rows += len(requests)
        for request in requests:
            is_first = stage == first_token_stage(request) and not request.times_s
            if stage == "decode" or is_first:
                request.times_s.append(now_s)

    def _move(self, stage: Stage, requests: Sequence[Request], step: Step) -> None:
        """Let requests go on to where they wait next, or end."""
        failed = {id(request): why for request, why in step.failed}
        ended = set(map(id, step.ended))
        for request in requests:
            if id(request) in failed:
                request.error = failed[id(request)]
                self._end(request, State.FAILED)
            elif id(request) in ended:
                self._end(request, State.DONE)
            elif stage == "prefill":
                is_ready = not request.demand.is_compressed
                self._put(request, State.RUNNING if is_ready else State.PREFILLED)
            elif stage != "decode":
                if stage == "compress":
                    self._ledger.shrink(request)
                self._put(request, _AFTER[stage])

    def _put(self, request: Request, state: State, *, first: bool = False) -> None:
        self._queues[request.state].remove(request)
        request.state = state
        self._queues[state].insert(0 if first else len(self._queues[state]), request)

    def _end(self, request: Request, state: State) -> None:
        self._queues[request.state].remove(request)
        request.state, request.ended_s = state, self._clock.now_s
        self._ledger.release(request)
        self._engine.drop(request)
        self._source.ended(request)

    def _make_room(self, decoded: Sequence[Request]) -> None:
        """Let the youngest give way until those that remain have room for one more token."""
        if self._preempt == "none":
            return
        running = self._queues[State.RUNNING]
        while not self._ledger.has_room(self._ahead()):
            youngest = max(running, key=lambda one: one.number)
            youngest.num_preempted += 1
            self.totals.num_preempted += 1
            if self._preempt == "swap":
                self._run("swap_out", [youngest])
                self._put(youngest, State.SWAPPED)
            else:
                self._engine.drop(youngest)
                self._put(youngest, State.ENCODED, first=True)
            self._ledger.release(youngest)
        for request in decoded:
            if request.state is State.RUNNING:
                self._ledger.grow(request)

    def _swap_in(self) -> bool:
        """Let the oldest of those that were swapped out return, if there is room again."""
        swapped = self._queues[State.SWAPPED]
        if not swapped:
            return False
        oldest = min(swapped, key=lambda one: one.number)
        ahead = self._ahead() + oldest.demand.token_bytes
        if not self._ledger.fits_again(oldest, ahead):
            return False
        self._ledger.return_to(oldest)
        self._run("swap_in", [oldest])
        self._put(oldest, State.RUNNING)
        return True

    def _note(self) -> None:
        """Take note of the state for whoever looks at it over time."""
        waiting = sum(
            len(queue) for state, queue in self._queues.items() if state is not State.RUNNING
        )
        running = len(self._queues[State.RUNNING])
        self._monitor.note(self._clock.now_s, running, waiting, self._ledger.reserved)
