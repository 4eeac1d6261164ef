"""Which answers are about an earlier content of their files, from records and the journal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.plan import MediaGroup
from encodeonce.harness.run.record import Record, SampleError
from encodeonce.harness.run.replaced import find_replaced, without_replaced

ROOT = Path("/m")
BROKEN = SampleError(type="UndecodableMedia", message="cut")


def record(text: str | None, *media_sha256: str, variant: str = "none/full") -> Record:
    return Record(
        run="r",
        benchmark="b",
        sample="1",
        group="g",
        question="?",
        target="A",
        variant=variant,
        text=text,
        error=BROKEN if text is None else None,
        media_sha256=media_sha256,
        finished_at="2026-01-02T00:00:00+00:00",
    )


def group(*paths: str) -> MediaGroup:
    media = tuple(MediaRef(kind="image", path=path) for path in paths)
    sample = Sample(id="1", media=media, question="?", target="A", group="g")
    return MediaGroup(
        benchmark="b", root=ROOT, media=media, samples=(sample,), prompts=("?",), together=("?",)
    )


def outcome(path: str, sha256: str, day: int) -> dict[str, Any]:
    value = {"media": sha256}
    finished_at = f"2026-01-0{day}T00:00:00+00:00"
    return {"item": f"/m/{path}", "status": "ok", "value": value, "finished_at": finished_at}


@pytest.mark.parametrize(
    ("then", "now", "files"),
    [
        (("a", "b"), {"x": "a", "y": "b"}, ()),
        (("a", "b"), {"x": "a", "y": "new"}, ("/m/y",)),
        (("a", "b"), {"x": "new", "y": "newer"}, ("/m/x", "/m/y")),
        (("a", "b"), {"x": "a", "y": None}, ()),  # gone: nothing else to ask about
        ((), {"x": "a", "y": "b"}, ()),  # a record of an earlier version, and no journal
    ],
)
def test_a_file_of_another_digest_was_replaced(
    then: tuple[str, ...], now: dict[str, str | None], files: tuple[str, ...]
) -> None:
    found = find_replaced(
        [group("x", "y")], [record("A", *then)], [], lambda root, ref: now[ref.path]
    )
    assert found.files == files
    assert found.answers == ({("b", "1", "none/full")} if files else set())


@pytest.mark.parametrize(
    ("journal", "is_replaced"),
    [
        ([outcome("x", "old", 1)], True),
        ([outcome("x", "now", 1)], False),
        ([outcome("x", "old", 1), outcome("x", "now", 3)], True),
        ([outcome("x", "older", 1), outcome("x", "now", 2)], False),
        ([outcome("x", "old", 3)], False),  # encoded only after the answer: it was about another
        ([outcome("y", "old", 1)], False),
        ([{"item": "/m/x", "status": "failed", "value": None, "error": {}}], False),
    ],
)
def test_of_records_without_digests_the_journal_tells(
    journal: list[dict[str, Any]], is_replaced: bool
) -> None:
    found = find_replaced([group("x")], [record("A")], journal, lambda root, ref: "now")
    assert bool(found.answers) == is_replaced


def test_a_file_is_looked_at_once_and_only_if_there_is_an_answer_about_it() -> None:
    asked: list[str] = []
    groups = [group("x"), replace(group("x"), benchmark="c"), replace(group("y"), benchmark="d")]
    records = [record("A", "a"), replace(record("A", "a"), benchmark="c"), record(None, "a")]
    find_replaced(groups, records, [], lambda root, ref: asked.append(ref.path))
    assert asked == ["x"]


def test_the_last_record_decides_which_content_counts() -> None:
    old, new = record("A", "old"), record("B", "new")
    assert without_replaced([old, new]) == [new]
    assert without_replaced([old, record(None, "new")]) == [record(None, "new")]
    # An answer is final as long as it is about the same content.
    assert without_replaced([old, record(None, "old")]) == [old]
    assert without_replaced([old, record(None)]) == [old]


def test_answers_under_other_variants_are_left_out_with_it() -> None:
    other = record("A", "old", variant="none/half")
    added = record("A", variant="none/third")
    assert without_replaced([other, added, record("B", "new")]) == [added, record("B", "new")]
