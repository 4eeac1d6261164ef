"""Grouped work, ordered results, and no work before it is due."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from encodeonce.harness.bridges.in_order import in_order, windows


class Log:
    """Works on positions, and records when."""

    def __init__(self, keys: str) -> None:
        self.keys = keys
        self.parts = [
            [n for n, key in enumerate(keys) if key == one] for one in dict.fromkeys(keys)
        ]
        self.begun: list[str] = []
        self.done: list[int] = []
        self.expected: list[str] = []

    def work(self, part: int) -> Iterator[str]:
        self.begun.append(self.keys[self.parts[part][0]])
        for n in self.parts[part]:
            self.done.append(n)
            yield f"{self.keys[n]}{n}"

    def expect(self, part: int) -> None:
        self.expected.append(self.keys[self.parts[part][0]])

    def results(self) -> Iterator[str]:
        return in_order(self.parts, self.work, self.expect)


@given(st.text("abcd", max_size=20))
def test_every_item_gets_its_own_result_in_order_and_every_part_is_begun_once(keys: str) -> None:
    log = Log(keys)
    assert list(log.results()) == [f"{key}{n}" for n, key in enumerate(keys)]
    assert log.begun == list(dict.fromkeys(keys))
    assert log.expected == log.begun[1:]


def test_results_come_by_position_in_whatever_order_a_part_yields_them() -> None:
    parts = [[0, 3, 1], [2]]
    assert [*in_order(parts, lambda part: parts[part])] == [0, 1, 2, 3]


def test_results_that_follow_one_another_are_made_one_at_a_time() -> None:
    log = Log("aaabb")
    results = log.results()
    for n in range(5):
        next(results)
        assert log.done == list(range(n + 1))


def test_of_parts_that_alternate_the_first_is_worked_off_before_the_second_begins() -> None:
    log = Log("abab")
    results = log.results()
    assert next(results) == "a0"
    assert log.done == [0]
    assert next(results) == "b1"
    assert log.done == [0, 2, 1]


def test_windows_end_where_enough_is_held() -> None:
    def cut(items: list[int]) -> list[list[int]]:
        return list(windows(items, lambda item: item, max_items=3, max_bytes=10))

    assert cut([1, 1, 1, 1]) == [[1, 1, 1], [1]]
    assert cut([4, 6, 1]) == [[4, 6], [1]]
    assert cut([50, 50]) == [[50], [50]]
    assert cut([]) == []


def test_a_window_does_not_look_further_than_it_is_long() -> None:
    items = iter(range(10))
    next(windows(items, lambda _: 0, max_items=3, max_bytes=1))
    assert next(items) == 3
