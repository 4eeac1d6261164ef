"""Decides which worker gets which item next, and the outcome of each item.

A pure state machine: it starts nothing, waits for nothing and reads no clock. Executors report
what happened and when, and it returns the outcomes that follow.
"""

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from encodeonce.jobs.execution.work import (
    Attempt,
    ItemError,
    Limits,
    Outcome,
    Status,
    WorkError,
    WorkItem,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Items handed out together."""

    number: int
    items: tuple[WorkItem, ...]
    again: bool = False
    """Whether it is an item tried before, which shares its worker with no other."""

    @property
    def affinity(self) -> str:
        """The affinity that all its items share."""
        return self.items[0].affinity

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Place in the queue, lowest first: new before tried, heavy before light."""
        return self.again, -sum(item.weight for item in self.items), self.number


@dataclass(slots=True)
class _Holding:
    """One worker's chunks by number, oldest first. Only the oldest, in progress, has a lease."""

    chunks: dict[int, Chunk]
    since_s: float
    """When the oldest chunk became the oldest."""

    @property
    def oldest(self) -> Chunk:
        return next(iter(self.chunks.values()))


class _Waiting:
    """Chunks that no worker holds, in a line for each affinity."""

    def __init__(self) -> None:
        self._lines: dict[str, list[tuple[tuple[bool, float, int], Chunk]]] = {}
        self._resting: list[tuple[float, int, Chunk]] = []
        """Those not to be tried before a time, the earliest first."""

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    @property
    def next_s(self) -> float:
        """When the next chunk has rested enough; infinity if none rests."""
        return self._resting[0][0] if self._resting else math.inf

    def rest(self, chunk: Chunk, until_s: float) -> None:
        heapq.heappush(self._resting, (until_s, chunk.number, chunk))

    def wake(self, now_s: float) -> None:
        while self.next_s <= now_s:
            self.push(heapq.heappop(self._resting)[2])

    def push(self, chunk: Chunk) -> None:
        heapq.heappush(self._lines.setdefault(chunk.affinity, []), (chunk.rank, chunk))

    def first_for(self, affinity: str | None, num_workers: Mapping[str, int]) -> Chunk | None:
        """Return the chunk that is next for a worker; it stays in its line.

        Args:
            affinity: what the worker is prepared for.
            num_workers: number of workers prepared for each affinity. One that has to change goes
                where most work per worker is left.
        """
        lines = {name: line for name, line in self._lines.items() if line}
        new = {name: line for name, line in lines.items() if not line[0][1].again}
        lines = new or lines
        if not lines:
            return None
        if affinity not in lines:
            affinity = max(lines, key=lambda name: self._weight(name) / (1 + num_workers[name]))
        return lines[affinity][0][1]

    def remove_first(self, affinity: str) -> None:
        heapq.heappop(self._lines[affinity])

    def _weight(self, affinity: str) -> float:
        return sum(item.weight for _, chunk in self._lines[affinity] for item in chunk.items)


class WorkQueue:
    """Hands out items, heaviest first, until each has its `Outcome`.

    When a worker is lost, only its oldest chunk is suspect: the younger ones go back unchanged. But
    the loss of several items together convicts none of them, and a worker killed by its second
    chunk may take the answer to its first along. So suspects are tried once more, alone in their
    worker, and only an item lost alone is charged an attempt. Suspects wait until all other work is
    handed out, so that a killer item does not hold it up.
    """

    def __init__(self, items: Sequence[WorkItem], limits: Limits) -> None:
        """Queue ``items``.

        Raises:
            WorkError: two items have the same id.
        """
        counts = Counter(item.id for item in items)
        if duplicates := [item for item, count in counts.items() if count > 1]:
            raise WorkError(f"{len(duplicates)} duplicate item id(s), first {duplicates[0]!r}")
        self._limits = limits
        self._open = set(counts)
        self._attempts: Counter[str] = Counter()
        self._waiting = _Waiting()
        self._holdings: dict[str, _Holding] = {}
        self._prepared: dict[str, str] = {}
        """The affinity of each worker's last chunk."""
        self._num_chunks = 0
        by_affinity: dict[str, list[WorkItem]] = {}
        for item in sorted(items, key=lambda item: -item.weight):
            by_affinity.setdefault(item.affinity, []).append(item)
        for alike in by_affinity.values():
            for start in range(0, len(alike), limits.chunk_size):
                self._enqueue(alike[start : start + limits.chunk_size])

    @property
    def num_open(self) -> int:
        """Items that have no outcome yet."""
        return len(self._open)

    def take(self, worker: str, now_s: float) -> Chunk | None:
        """Give the next chunk to ``worker``, any unique id; None if there is none for it now."""
        self._waiting.wake(now_s)
        holding = self._holdings.get(worker)
        prepared = self._prepared.get(worker)
        chunk = self._waiting.first_for(prepared, Counter(self._prepared.values()))
        if chunk is None or (holding and not self._may_hold_more(holding, chunk)):
            return None
        self._waiting.remove_first(chunk.affinity)
        self._prepared[worker] = chunk.affinity
        if holding is None:
            holding = self._holdings[worker] = _Holding({}, now_s)
        holding.chunks[chunk.number] = chunk
        return chunk

    def finish(
        self, worker: str, chunk: Chunk, attempts: Sequence[Attempt], now_s: float
    ) -> list[Outcome]:
        """Take the attempts at ``chunk``; return the outcomes of the items that are done.

        An answer to a chunk that the worker no longer holds is ignored: its lease had expired, and
        others have been given the items. After a ``stop`` the items without outcome stay open.
        """
        holding = self._holdings.get(worker)
        if holding is None or chunk.number not in holding.chunks:
            return []
        if chunk.number == holding.oldest.number:
            holding.since_s = now_s
        del holding.chunks[chunk.number]
        if not holding.chunks:
            del self._holdings[worker]
        items = {item.id: item for item in chunk.items}
        tried = [attempt.item for attempt in attempts]
        is_stop = bool(attempts) and attempts[-1].verdict == "stop"
        assert tried == list(items)[: len(tried) if is_stop else None], "an attempt at each item"
        judged = attempts[:-1] if is_stop else attempts
        outcomes = [self._judge(items[one.item], one, worker, now_s) for one in judged]
        return [outcome for outcome in outcomes if outcome is not None]

    def lose(self, worker: str, reason: ItemError, now_s: float) -> list[Outcome]:
        """Take back what a dead or hung worker held; return the outcome of a quarantined item."""
        self._prepared.pop(worker, None)
        holding = self._holdings.pop(worker, None)
        if holding is None:
            return []
        suspect, *innocent = holding.chunks.values()
        for chunk in innocent:
            self._waiting.push(chunk)
        if innocent or len(suspect.items) > 1:
            for item in suspect.items:
                self._enqueue([item], again=True)
            return []
        seconds = now_s - holding.since_s
        (item,) = suspect.items
        outcome = self._retry_or_end(item, "quarantined", reason, seconds, worker)
        return [] if outcome is None else [outcome]

    def overdue(self, now_s: float) -> list[str]:
        """Return the workers whose lease has expired. Kill them, then call `lose`."""
        return [w for w, held in self._holdings.items() if self._deadline_s(held) <= now_s]

    def next_event_s(self) -> float:
        """When the next lease expires, or an item is to be tried again; infinity if neither."""
        deadline_s = min(map(self._deadline_s, self._holdings.values()), default=math.inf)
        return min(deadline_s, self._waiting.next_s)

    def _may_hold_more(self, holding: _Holding, following: Chunk) -> bool:
        return (
            len(holding.chunks) < self._limits.max_in_flight
            and not (holding.oldest.again or following.again)
            # A worker prepared for it may finish the rest before this one does.
            and following.affinity == holding.oldest.affinity
            # A chunk waiting behind another is out of reach of idle workers: near the end no
            # worker gets a second one.
            and len(self._waiting) >= len(self._holdings)
        )

    def _deadline_s(self, holding: _Holding) -> float:
        return holding.since_s + self._limits.lease_s * len(holding.oldest.items)

    def _judge(self, item: WorkItem, attempt: Attempt, worker: str, now_s: float) -> Outcome | None:
        if attempt.verdict == "retry":
            assert attempt.error is not None
            again_s = now_s + self._limits.retry_after_s * 2 ** self._attempts[item.id]
            return self._retry_or_end(
                item, "failed", attempt.error, attempt.seconds, worker, again_s
            )
        assert attempt.verdict != "stop", "it is no outcome"
        self._open.remove(item.id)
        return Outcome(
            item=item.id,
            status=attempt.verdict,
            value=attempt.value,
            error=attempt.error,
            attempts=self._attempts[item.id] + 1,
            seconds=attempt.seconds,
            worker=worker,
        )

    def _retry_or_end(
        self,
        item: WorkItem,
        status: Status,
        error: ItemError,
        seconds: float,
        worker: str,
        again_s: float | None = None,
    ) -> Outcome | None:
        self._attempts[item.id] += 1
        if self._attempts[item.id] < self._limits.max_attempts:
            if again_s is None:
                self._enqueue([item], again=True)
            else:
                self._waiting.rest(self._chunk([item], again=True), again_s)
            return None
        self._open.remove(item.id)
        return Outcome(
            item=item.id,
            status=status,
            error=error,
            attempts=self._attempts[item.id],
            seconds=seconds,
            worker=worker,
        )

    def _enqueue(self, items: Sequence[WorkItem], again: bool = False) -> None:
        self._waiting.push(self._chunk(items, again))

    def _chunk(self, items: Sequence[WorkItem], again: bool) -> Chunk:
        self._num_chunks += 1
        return Chunk(number=self._num_chunks - 1, items=tuple(items), again=again)
