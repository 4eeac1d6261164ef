"""Run calls in threads that are kept: compression, checksums and reads release the GIL."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


class Map(Protocol):
    """The type of `Threads.map`: ``map`` over one sequence, returning a list."""

    def __call__(self, function: Callable[[Given], Made], items: Iterable[Given]) -> list[Made]:
        """Return the function's results in the order of the items."""
        ...


class Threads:
    """A few threads, started when first needed."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._lock = threading.Lock()

    def map(self, function: Callable[[Given], Made], items: Iterable[Given]) -> list[Made]:
        """Return ``list(map(function, items))``. The threads take items in order, one by one."""
        given = list(items)
        made: list[Any] = [None] * len(given)
        todo = iter(range(len(given)))

        def work() -> None:
            for i in todo:  # `next` of a range iterator is atomic
                made[i] = function(given[i])

        num_others = min(self._num_threads, len(given)) - 1
        others = [self._executor().submit(work) for _ in range(num_others)]
        try:
            work()
        finally:
            for other in others:
                other.result()
        return made

    def close(self) -> None:
        """End the threads; they start again when needed."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and pool[0] == os.getpid():
            pool[1].shutdown()

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            # Threads do not survive a fork: the child starts its own.
            if self._pool is None or self._pool[0] != os.getpid():
                pool = ThreadPoolExecutor(self._num_threads, thread_name_prefix="feature-store")
                self._pool = (os.getpid(), pool)
            return self._pool[1]
