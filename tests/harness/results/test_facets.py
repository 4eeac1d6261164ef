"""Mean scores by one tag and by two, in the order of the numbers that tags begin with."""

from encodeonce.harness.results.facets import by_tag, estimate, grid
from encodeonce.harness.run.record import Record
from tests.harness.records import record


def answer(sample: str, depth: str, frames: str, score: float | None) -> Record:
    return record(sample, score=score, tags={"depth": depth, "frames": frames})


RECORDS = [
    answer("a", "100 %", "8", 1.0),
    answer("b", "25 %", "16", 0.0),
    answer("c", "0 %", "8", 1.0),
    answer("d", "0 %", "8", 0.0),
    answer("e", "0 %", "16", None),
    record("f", score=1.0, tags={"frames": "8"}),
]


def test_a_grid_holds_each_pair_in_the_order_of_numbers() -> None:
    found = grid(RECORDS, ("depth", "frames"))
    assert (found["row_tag"], found["column_tag"]) == ("depth", "frames")
    assert found["rows"] == ["0 %", "25 %", "100 %"]
    assert found["columns"] == ["8", "16"]
    means = [
        [None if one is None or one["accuracy"] is None else one["accuracy"]["mean"] for one in row]
        for row in found["cells"]
    ]
    assert means == [[0.5, None], [None, 0.0], [1.0, None]]
    counts = [
        [one and (one["num_scored"], one["num_samples"]) for one in r] for r in found["cells"]
    ]
    assert counts == [[(2, 2), (0, 1)], [None, (1, 1)], [(1, 1), None]]


def test_a_grid_does_not_depend_on_the_order_of_records() -> None:
    assert grid(RECORDS[::-1], ("depth", "frames")) == grid(RECORDS, ("depth", "frames"))


def test_a_grid_without_such_tags_is_empty() -> None:
    found = grid(RECORDS, ("kind", "depth"))
    assert (found["rows"], found["columns"], found["cells"]) == ([], [], [])


def test_the_parts_of_a_tag_are_in_the_order_of_numbers_and_words_come_last() -> None:
    records = [
        record(value, tags={"n": value, "same": "x"}) for value in ("16", "b", "8", "-1.5 s", "a")
    ]
    assert list(by_tag(records)) == ["n: -1.5 s", "n: 8", "n: 16", "n: a", "n: b"]


def test_nothing_scored_has_no_mean() -> None:
    assert estimate(RECORDS[4:5]) == {"num_samples": 1, "num_scored": 0, "accuracy": None}
