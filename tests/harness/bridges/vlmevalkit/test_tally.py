"""The last lines of a command under VLMEvalKit."""

from encodeonce.datasets.media.media import MissingMedia
from encodeonce.harness.bridges.resident import ResidentUse
from encodeonce.harness.bridges.vlmevalkit.tally import Tally
from encodeonce.harness.run.record import CacheUse


def test_questions_hits_and_failures_are_summed() -> None:
    tally = Tally()
    tally.asked(
        ResidentUse(
            num_prefills=1,
            cache=CacheUse(num_units=8, num_hits=2, num_encoded=6),
            seconds={"read": 0.5, "prefill": 1.0},
        )
    )
    tally.asked(ResidentUse(seconds={"prefill": 0.25, "generate": 2.0}))
    for _ in range(2):
        tally.failed(MissingMedia("gone"))
        tally.asked(ResidentUse(cache=CacheUse(num_units=8, num_hits=8)))
    assert tally.lines() == [
        "4 questions, 2 answered, from 1 prefill of media",
        "features: hit rate 75 %, 18 of 24 units in the store, 6 encoded",
        "seconds: read 0.5 s, prefill 1.2 s, generate 2.0 s",
        "2 not answered: MissingMedia: gone",
    ]


def test_of_many_errors_the_most_frequent_are_shown() -> None:
    tally = Tally()
    for name in ("a", "a", *map(str, range(20))):
        tally.failed(MissingMedia(name))
        tally.asked(ResidentUse())
    errors = tally.lines()[3:]
    assert errors[0] == "2 not answered: MissingMedia: a"
    assert errors[-1] == "and 11 other errors"


def test_nothing_is_said_where_nothing_was_asked() -> None:
    assert Tally().lines() == []
