"""Works on a list out of order but yields results in order: items of one key are done together."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def windows(
    items: Iterable[T], nbytes: Callable[[T], int], *, max_items: int, max_bytes: int
) -> Iterator[list[T]]:
    """Cut a stream into lists; one that grows beyond ``max_bytes`` ends with that item."""
    window: list[T] = []
    held_bytes = 0
    for item in items:
        window.append(item)
        held_bytes += nbytes(item)
        if len(window) == max_items or held_bytes >= max_bytes:
            yield window
            window, held_bytes = [], 0
    if window:
        yield window


def in_order(
    keys: Sequence[Hashable],
    work: Callable[[Sequence[int]], Iterable[R]],
    expect: Callable[[Sequence[int]], None] = lambda members: None,
) -> Iterator[R]:
    """Yield one result for each key, in order.

    Work on a key begins when its first result is due and goes on only as far as results are due,
    so that no work runs ahead of the results. Where the results of several keys alternate, the
    first key is finished before the second begins.

    Args:
        keys: one for each item.
        work: yields the results of the items at some positions, all of one key, in that order.
        expect: called before ``work``, with the positions to be worked on next.
    """
    members: dict[Hashable, list[int]] = {}
    for n, key in enumerate(keys):
        members.setdefault(key, []).append(n)
    upcoming = iter([*list(members.values())[1:], []])
    results: dict[int, R] = {}
    under_way: Iterator[tuple[int, R]] = iter(())
    first = {positions[0] for positions in members.values()}
    for n, key in enumerate(keys):
        if n in first:
            results.update(under_way)
            if following := next(upcoming):
                expect(following)
            under_way = zip(members[key], work(members[key]), strict=True)
        while n not in results:
            position, result = next(under_way)
            results[position] = result
        yield results.pop(n)
