"""The queue, against simulated workers that crash, hang and lose answers at random."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encodeonce.jobs.execution.queue import Chunk, WorkQueue
from encodeonce.jobs.execution.work import (
    LOST,
    OVERDUE,
    Attempt,
    ItemError,
    Limits,
    Outcome,
    WorkError,
    WorkItem,
)

CRASH = ItemError(type=LOST, message="signal 9")
LATE = ItemError(type=OVERDUE, message="too slow")
ERROR = ItemError(type="ValueError", message="bad")


class Fleet:
    """Simulated workers. An item's payload says what it does: good, bad, flaky, kills, hangs."""

    def __init__(self, queue: WorkQueue, num_workers: int, num_outages: int, random: Random):
        self.queue, self.random, self.num_outages = queue, random, num_outages
        self.now_s = 0.0
        self.num_made = 0
        self.todo: dict[str, list[Chunk]] = {}
        self.unread: dict[str, list[tuple[Chunk, list[Attempt]]]] = {}
        self.outcomes: list[Outcome] = []
        self.tries: dict[str, int] = {}
        for _ in range(num_workers):
            self.make()

    def make(self) -> None:
        name = f"w{self.num_made}"
        self.num_made += 1
        self.todo[name], self.unread[name] = [], []

    def lose(self, worker: str, reason: ItemError) -> None:
        """Lose a worker, and with it some of its unread answers."""
        for _ in range(self.random.randint(0, len(self.unread[worker]))):
            self.read(worker)
        self.outcomes += self.queue.lose(worker, reason, self.now_s)
        del self.todo[worker], self.unread[worker]
        self.make()

    def read(self, worker: str) -> None:
        chunk, attempts = self.unread[worker].pop(0)
        self.outcomes += self.queue.finish(worker, chunk, attempts, self.now_s)

    def work(self, worker: str) -> None:
        chunk = self.todo[worker].pop(0)
        attempts = []
        for item in chunk.items:
            self.tries[item.id] = self.tries.get(item.id, 0) + 1
            if item.payload == "kills":
                self.lose(worker, CRASH)
                return
            bad = item.payload == "bad"
            flaky = item.payload == "flaky" and self.tries[item.id] == 1
            attempts.append(
                Attempt(
                    item=item.id,
                    verdict="failed" if bad else "retry" if flaky else "ok",
                    value=None if bad or flaky else item.id,
                    error=ERROR if bad or flaky else None,
                    seconds=1.0,
                )
            )
        self.unread[worker].append((chunk, attempts))

    def hangs(self, worker: str) -> bool:
        return bool(self.todo[worker]) and any(
            item.payload == "hangs" for item in self.todo[worker][0].items
        )

    def step(self) -> None:
        """Make one of the possible next events happen."""
        deeds = []
        for worker in self.todo:
            if chunk := self.queue.take(worker, self.now_s):
                self.todo[worker].append(chunk)
            if self.todo[worker] and not self.hangs(worker):
                deeds.append((self.work, worker))
            if self.unread[worker]:
                deeds.append((self.read, worker))
        if self.num_outages and self.random.random() < 0.1:
            self.num_outages -= 1
            self.lose(self.random.choice(list(self.todo)), CRASH)
        elif deeds:
            deed, worker = self.random.choice(deeds)
            deed(worker)
        else:
            self.now_s = self.queue.next_event_s()
            assert math.isfinite(self.now_s), "work is open, but nobody holds any"
            for worker in self.queue.overdue(self.now_s):
                assert self.hangs(worker)
                self.lose(worker, LATE)


# Half of all lists are long: only where much is in flight can the innocent be hit.
KIND = st.sampled_from(["good", "good", "good", "bad", "flaky", "kills", "hangs"])
KINDS = st.lists(KIND, max_size=5) | st.lists(KIND, min_size=15, max_size=40)
LIMITS = st.builds(
    Limits,
    chunk_size=st.integers(1, 5),
    max_in_flight=st.integers(1, 3),
    max_attempts=st.integers(1, 4),
    lease_s=st.floats(1.0, 100.0),
    retry_after_s=st.floats(0.0, 100.0),
)


def simulate(
    kinds: list[str], limits: Limits, num_workers: int, num_outages: int, seed: int
) -> tuple[dict[str, Outcome], Fleet]:
    random = Random(seed)
    items = [
        WorkItem(
            id=f"{kind}-{n}", payload=kind, weight=random.random(), affinity=random.choice("abc")
        )
        for n, kind in enumerate(kinds)
    ]
    queue = WorkQueue(items, limits)
    fleet = Fleet(queue, num_workers, num_outages, random)
    while queue.num_open:
        fleet.step()
    assert sorted(o.item for o in fleet.outcomes) == sorted(item.id for item in items)
    return {outcome.item: outcome for outcome in fleet.outcomes}, fleet


@given(kinds=KINDS, limits=LIMITS, num_workers=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_every_item_ends_once_and_only_killers_and_hangers_are_quarantined(
    kinds: list[str], limits: Limits, num_workers: int, seed: int
) -> None:
    outcomes, fleet = simulate(kinds, limits, num_workers, 0, seed)
    for name, outcome in outcomes.items():
        kind = name.split("-")[0]
        flaky_end = "ok" if limits.max_attempts > 1 or fleet.tries.get(name, 0) > 1 else "failed"
        expected = {
            "good": "ok",
            "bad": "failed",
            "flaky": flaky_end,
            "kills": "quarantined",
            "hangs": "quarantined",
        }
        assert outcome.status == expected[kind]
        if outcome.status == "quarantined":
            assert outcome.attempts == limits.max_attempts
            assert outcome.error == (CRASH if kind == "kills" else LATE)


@given(
    kinds=KINDS,
    limits=LIMITS,
    num_workers=st.integers(1, 4),
    num_outages=st.integers(0, 10),
    seed=st.integers(0, 2**32),
)
def test_every_item_ends_once_whatever_else_goes_wrong(
    kinds: list[str], limits: Limits, num_workers: int, num_outages: int, seed: int
) -> None:
    outcomes, _ = simulate(kinds, limits, num_workers, num_outages, seed)
    assert all(1 <= outcome.attempts <= limits.max_attempts for outcome in outcomes.values())
    if num_outages < limits.max_attempts:
        assert all(o.status == "ok" for name, o in outcomes.items() if name.startswith("good"))


def queue_of(*names: str, **limits: float) -> WorkQueue:
    """A queue of items in order of decreasing weight."""
    items = [WorkItem(id=name, payload=None, weight=len(names) - n) for n, name in enumerate(names)]
    return WorkQueue(items, Limits(**limits))  # type: ignore[arg-type]


def taken(queue: WorkQueue, worker: str, now_s: float = 0.0) -> list[str]:
    chunk = queue.take(worker, now_s)
    return [] if chunk is None else [item.id for item in chunk.items]


def test_the_heaviest_items_go_first() -> None:
    items = [WorkItem(id=str(w), payload=None, weight=w) for w in (2, 9, 4)]
    queue = WorkQueue(items, Limits())
    assert [taken(queue, worker) for worker in "abc"] == [["9"], ["4"], ["2"]]


def test_a_worker_stays_with_what_it_is_prepared_for_and_workers_share_it_out() -> None:
    items = [
        WorkItem(id=f"{affinity}{n}", payload=None, weight=weight, affinity=affinity)
        for affinity, weight in (("a", 3.0), ("b", 2.0))
        for n in range(6)
    ]
    queue = WorkQueue(items, Limits())
    given: dict[str, str] = {"w1": "", "w2": ""}
    while queue.num_open:
        for worker in given:
            chunk = queue.take(worker, 0.0)
            if chunk is not None:
                given[worker] += chunk.affinity
                done = Attempt(item=chunk.items[0].id, verdict="ok", seconds=1.0)
                queue.finish(worker, chunk, [done], 0.0)
    assert given == {"w1": "aaaaaa", "w2": "bbbbbb"}


def test_a_chunk_holds_items_of_one_affinity_only() -> None:
    items = [WorkItem(id=f"{n}", payload=None, affinity="ab"[n % 2]) for n in range(4)]
    queue = WorkQueue(items, Limits(chunk_size=4))
    assert [taken(queue, worker) for worker in ("w1", "w2")] == [["0", "2"], ["1", "3"]]


def test_a_worker_without_work_of_its_own_helps_where_most_is_left_for_each() -> None:
    weights = {"a": [1.0], "b": [5.0, 5.0, 5.0], "c": [4.0, 4.0, 4.0]}
    items = [
        WorkItem(id=f"{affinity}{n}", payload=None, weight=weight, affinity=affinity)
        for affinity, some in weights.items()
        for n, weight in enumerate(some)
    ]
    queue = WorkQueue(items, Limits())
    # 15 for b; then 10 are left, but one worker has them already: 5 each.
    assert [taken(queue, worker) for worker in ("w1", "w2", "w3")] == [["b0"], ["c0"], ["b1"]]
    # b: 5 for three, c: 8 for two, a: 1 for one.
    assert taken(queue, "w4") == ["c1"]


def test_a_second_chunk_is_never_one_that_the_worker_is_not_prepared_for() -> None:
    items = [
        WorkItem(id=name, payload=None, weight=weight, affinity=name[0])
        for name, weight in (("a0", 9.0), ("b0", 3.0), ("b1", 2.0), ("b2", 1.0))
    ]
    queue = WorkQueue(items, Limits(max_in_flight=2))
    chunk = queue.take("w1", 0.0)
    assert chunk is not None
    assert [item.id for item in chunk.items] == ["a0"]
    assert taken(queue, "w1") == []
    queue.finish("w1", chunk, [Attempt(item="a0", verdict="ok", seconds=1.0)], 1.0)
    assert [taken(queue, "w1"), taken(queue, "w1")] == [["b0"], ["b1"]]


def test_a_lost_chunk_is_split_and_tried_after_everything_else() -> None:
    queue = queue_of("a", "b", "c", chunk_size=2)
    assert taken(queue, "w1") == ["a", "b"]
    assert queue.lose("w1", CRASH, now_s=1.0) == []
    assert [taken(queue, worker) for worker in ("w2", "w3", "w4")] == [["c"], ["a"], ["b"]]


def test_an_item_tried_again_shares_its_worker_with_no_other() -> None:
    queue = queue_of("a", "b", "c", chunk_size=2, max_in_flight=2)
    assert taken(queue, "w1") == ["a", "b"]
    queue.lose("w1", CRASH, now_s=1.0)
    assert [taken(queue, "w2"), taken(queue, "w2")] == [["c"], []]
    assert [taken(queue, "w3"), taken(queue, "w3")] == [["a"], []]


def test_a_younger_chunk_of_a_lost_worker_goes_back_as_it_was() -> None:
    queue = queue_of("a", "b", "c", "d", max_in_flight=2, max_attempts=1)
    assert [taken(queue, "w1"), taken(queue, "w1")] == [["a"], ["b"]]
    assert queue.lose("w1", CRASH, now_s=1.0) == []
    assert [taken(queue, worker) for worker in ("w2", "w3", "w4")] == [["b"], ["c"], ["d"]]
    assert taken(queue, "w5") == ["a"]
    (outcome,) = queue.lose("w5", CRASH, now_s=3.0)
    assert (outcome.item, outcome.status, outcome.attempts) == ("a", "quarantined", 1)


def test_near_the_end_nobody_gets_a_second_chunk() -> None:
    queue = queue_of("a", "b", "c", max_in_flight=2)
    assert [taken(queue, "w1"), taken(queue, "w2"), taken(queue, "w1")] == [["a"], ["b"], []]
    assert taken(queue, "w3") == ["c"]


def test_the_lease_of_a_second_chunk_begins_when_the_first_is_answered() -> None:
    queue = queue_of("a", "b", lease_s=10)
    first = queue.take("w", 0.0)
    assert first is not None
    assert taken(queue, "w", now_s=0.0) == ["b"]
    assert queue.next_event_s() == 10
    answer = Attempt(item="a", verdict="ok", seconds=9.0)
    queue.finish("w", first, [answer], now_s=9.0)
    assert queue.overdue(18.9) == []
    assert queue.overdue(19.0) == ["w"]


def test_an_answer_after_the_lease_is_ignored() -> None:
    queue = queue_of("a", max_attempts=2)
    chunk = queue.take("w1", 0.0)
    assert chunk is not None
    queue.lose("w1", LATE, now_s=5.0)
    late = [Attempt(item="a", verdict="ok", seconds=6.0)]
    assert queue.finish("w1", chunk, late, now_s=6.0) == []
    assert queue.num_open == 1
    assert taken(queue, "w2") == ["a"]


def test_an_error_that_may_pass_is_tried_again_later_and_later() -> None:
    queue = queue_of("a", max_attempts=3, retry_after_s=5)
    now_s = 100.0
    for rest_s in (5.0, 10.0):
        chunk = queue.take("w", now_s)
        assert chunk is not None
        stumbled = Attempt(item="a", verdict="retry", error=ERROR, seconds=1.0)
        assert queue.finish("w", chunk, [stumbled], now_s) == []
        assert queue.next_event_s() == now_s + rest_s
        assert taken(queue, "w", now_s + rest_s - 0.1) == []
        now_s += rest_s
    chunk = queue.take("w", now_s)
    assert chunk is not None
    (outcome,) = queue.finish("w", chunk, [stumbled], now_s)
    assert (outcome.status, outcome.attempts) == ("failed", 3)


def test_while_one_item_rests_the_others_are_handed_out() -> None:
    queue = queue_of("a", "b", retry_after_s=5)
    chunk = queue.take("w", 0.0)
    assert chunk is not None
    queue.finish("w", chunk, [Attempt(item="a", verdict="retry", error=ERROR, seconds=1.0)], 0.0)
    assert taken(queue, "w", 1.0) == ["b"]
    assert taken(queue, "v", 1.0) == []
    assert taken(queue, "v", 5.0) == ["a"]


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_that_cannot_be_ordered_is_refused(weight: float) -> None:
    with pytest.raises(WorkError, match="weight"):
        WorkItem(id="a", payload=None, weight=weight)


@pytest.mark.parametrize("name", ["chunk_size", "max_in_flight", "max_attempts", "lease_s"])
def test_limits_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(WorkError, match=name):
        Limits(**{name: 0})  # type: ignore[arg-type]
