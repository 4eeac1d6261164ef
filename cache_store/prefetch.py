"""Read the next group's features while this one computes."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.signature import FeatureKey

Group = TypeVar("Group")


def prefetch(
    groups: Iterable[Group],
    keys_of: Callable[[Group], Sequence[FeatureKey]],
    read: Callable[[Sequence[FeatureKey]], Features],
    num_ahead: int = 1,
) -> Generator[tuple[Group, Future[Features]], None, None]:
    """Iterate over groups in order, each with its features, reading ``num_ahead`` groups ahead.

    The features come as a finished or running `Future`: ``result()`` waits, and raises there, in
    its own group's turn, what reading raised. Groups are taken from ``groups`` no earlier than
    they are read.

    Args:
        groups: what is worked on one after the other.
        keys_of: units that a group needs; of one media and signature.
        read: `FeatureStore.get`, or a function that reads into buffers of its own. It runs on
            one other thread, one group at a time; with buffers it must turn through
            ``num_ahead + 2`` sets: those ahead, the one being read, the one in use.
        num_ahead: groups read before they are asked for, at least 1.
    """
    if num_ahead < 1:
        raise ValueError(f"num_ahead must be at least 1, got {num_ahead}")
    stop = threading.Event()

    def read_unless_stopped(group: Group) -> Features:
        if stop.is_set():
            raise RuntimeError("prefetching was stopped before this group was read")
        return read(keys_of(group))

    waiting: deque[tuple[Group, Future[Features]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as reader:
        try:
            for group in groups:
                waiting.append((group, reader.submit(read_unless_stopped, group)))
                if len(waiting) > num_ahead:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        except BaseException:  # also when the iterator is closed early
            stop.set()
            raise
