"""Samples as rows of the kit's tables."""

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.bridges.vlmevalkit.table import table_rows


def test_rows_have_the_same_columns_and_ours_win_over_tags() -> None:
    clip = MediaRef(kind="video", path="a.mp4")
    picture = MediaRef(kind="image", path="b.png")
    samples = [
        Sample(
            id="01",
            media=(clip, picture),
            question="Which?",
            choices=("one", "two", "three"),
            target="C",
            group="a",
            tags={"category": "order", "answer": "not this"},
        ),
        Sample(id="02", media=(clip,), question="How many?", target="2", group="a"),
    ]
    rows = table_rows(samples)
    assert rows[0] == {
        "index": 0,
        "sample": "01",
        "video": "a.mp4 b.png",
        "question": "Which?",
        "A": "one",
        "B": "two",
        "C": "three",
        "answer": "C",
        "category": "order",
    }
    assert rows[1] == {
        **dict.fromkeys(rows[0]),
        **{"index": 1, "sample": "02", "video": "a.mp4", "question": "How many?", "answer": "2"},
    }
    assert table_rows([]) == []
