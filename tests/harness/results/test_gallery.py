"""The choice of answers that a report shows."""

from encodeonce.harness.results.gallery import MOST_ITEMS, gallery
from encodeonce.harness.run.record import SampleError
from encodeonce.harness.run.variant import BASELINE
from tests.harness.runs import a_record

BROKEN = SampleError(type="UndecodableMedia", message="clip.mp4 is truncated")


def test_a_run_of_one_variant_shows_its_wrong_answers() -> None:
    records = [a_record("a1"), a_record("a2", 0.0), a_record("a3", None, text=None, error=BROKEN)]
    found = gallery(records, [], BASELINE.name)
    assert found is not None
    (item,) = found["items"]
    assert (item["kind"], item["sample"], found["num_found"]) == ("wrong", "a2", 1)
    assert item["answers"] == [
        {"variant": BASELINE.name, "text": "B", "extracted": None, "score": 0.0}
    ]


def test_variants_show_what_they_lost_the_most_first() -> None:
    records = [
        *(a_record(name, score) for name, score in (("a1", 1.0), ("a2", 1.0), ("a3", 0.0))),
        *(a_record(name, 0.0, variant="none/h2o@0.5") for name in ("a1", "a2", "a3")),
        a_record("a2", 0.0, variant="int4/full"),
        a_record("a1", 1.0, variant="int4/full"),
    ]
    found = gallery(records, [], BASELINE.name)
    assert found is not None
    assert [item["sample"] for item in found["items"]] == ["a2", "a1"]
    assert [answer["variant"] for answer in found["items"][0]["answers"]] == [
        BASELINE.name,
        "none/h2o@0.5",
        "int4/full",
    ]


def test_what_caching_changed_comes_first() -> None:
    records = [a_record("a1", 0.0), a_record("a2", text="one")]
    found = gallery(records, [a_record("a1", 0.0), a_record("a2", text="two")], BASELINE.name)
    assert found is not None
    assert [(item["kind"], item["sample"]) for item in found["items"]] == [
        ("uncached", "a2"),
        ("wrong", "a1"),
    ]


def test_all_right_shows_nothing_and_many_are_cut() -> None:
    assert gallery([a_record("a1")], [a_record("a1")], BASELINE.name) is None
    found = gallery([a_record(f"a{n}", 0.0) for n in range(40)], [], BASELINE.name)
    assert found is not None
    assert (found["num_found"], len(found["items"])) == (40, MOST_ITEMS)
