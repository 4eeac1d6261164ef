"""Packing units into adapters: on a model that is a table of who gets on with whom."""

from collections.abc import Mapping, Sequence

import pytest

from encodeonce.harness.training.fusion.packing import Decision, Mark, pack


class Table:
    """Members that quarrel miss their floors; what was trained is noted."""

    def __init__(self, quarrels: Sequence[set[str]], hopeless: Sequence[str] = ()) -> None:
        self._quarrels, self._hopeless = quarrels, hopeless
        self.trained: list[tuple[str | None, str]] = []

    def train(self, start: str | None, members: Sequence[str]) -> str:
        self.trained.append((start, "+".join(members)))
        return "+".join(members)

    def marks(self, adapter: str, members: Sequence[str]) -> dict[str, Mark]:
        assert adapter == "+".join(members)
        bad = {one for pair in self._quarrels if pair <= set(members) for one in pair}
        bad |= set(self._hopeless)
        return {
            name: Mark(
                accuracy=0.5 if name in bad else 0.9,
                bound=0.5 if name in bad else 0.9,
                floor=0.8,
                num_questions=10,
            )
            for name in members
        }


def packed(units: str, table: Table) -> tuple[list[str], list[tuple[str, str]]]:
    decisions: list[Decision] = []
    found = pack(list(units), table, decisions.append)
    return [one.adapter for one in found], [(one.unit, one.outcome) for one in decisions]


@pytest.mark.parametrize(
    ("units", "quarrels", "hopeless", "adapters"),
    [
        ("abc", [], [], ["a+b+c"]),
        ("a", [], [], ["a"]),
        ("abcd", [{"a", "c"}], [], ["a+b", "c+d"]),
        ("abc", [{"a", "b"}, {"b", "c"}], [], ["a", "b", "c"]),
        ("abc", [], ["a"], ["a", "b+c"]),
        ("abc", [], ["c"], ["a+b", "c"]),
        ("abcd", [], ["b"], ["a", "b", "c+d"]),
    ],
)
def test_units_that_get_on_share_an_adapter(
    units: str, quarrels: list[set[str]], hopeless: list[str], adapters: list[str]
) -> None:
    found, _ = packed(units, Table(quarrels, hopeless))
    assert found == adapters


def test_a_rollback_keeps_the_adapter_before_it_and_begins_anew() -> None:
    table = Table([{"a", "c"}])
    _, decisions = packed("abc", table)
    assert decisions == [("a", "kept"), ("b", "kept"), ("c", "rolled back"), ("c", "kept")]
    assert table.trained == [(None, "a"), ("a", "a+b"), ("a+b", "a+b+c"), (None, "c")]


def test_a_unit_that_misses_its_floor_alone_is_said_and_shared_by_nobody() -> None:
    table = Table([], ["a"])
    found, decisions = packed("ab", table)
    assert decisions == [("a", "missed"), ("b", "kept")] and found == ["a", "b"]
    assert table.trained == [(None, "a"), (None, "b")]


@pytest.mark.parametrize(("bound", "is_met"), [(0.85 + 0.05 - 0.05, True), (0.849, False)])
def test_a_floor_is_not_missed_by_rounding(bound: float, is_met: bool) -> None:
    found: Mapping[str, float] = {"accuracy": 0.9, "bound": bound, "floor": 0.85}
    assert Mark(**found, num_questions=10).is_met == is_met
