"""Works on a list out of order but yields results in order: a part's items are done together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    parts: Sequence[Sequence[int]],
    work: Callable[[int], Iterable[R]],
    expect: Callable[[int], None] = lambda part: None,
) -> Iterator[R]:
    """Yield one result for each position, from 0.

    Work on a part begins when its first result is due and goes on only as far as results are due,
    so that no work runs ahead of the results. Where the results of several parts alternate, the
    first part is finished before the second begins.

    Args:
        parts: positions, each in one part; in the order of the parts' first positions.
        work: yields the results of the part of a number, in the order of its positions.
        expect: called before ``work``, with the number of the part to be worked on next.
    """
    part_of = {n: number for number, positions in enumerate(parts) for n in positions}
    results: dict[int, R] = {}
    under_way: Iterator[tuple[int, R]] = iter(())
    num_begun = 0
    for n in range(len(part_of)):
        if part_of[n] == num_begun:
            results.update(under_way)
            num_begun += 1
            if num_begun < len(parts):
                expect(num_begun)
            under_way = zip(parts[part_of[n]], work(part_of[n]), strict=True)
        while n not in results:
            position, result = next(under_way)
            results[position] = result
        yield results.pop(n)
