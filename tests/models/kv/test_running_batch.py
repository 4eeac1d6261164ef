"""Rows that join, end and leave at any step, against each alone; and what never changes a bit."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from encodeonce.models.answer import Generation
from encodeonce.models.kv.engine import DecodeEngine
from encodeonce.models.kv.running_batch import RunningBatch
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.kv.waves import Wave, decode
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual
from tests.contracts.family import Model, Scene
from tests.contracts.logits import NotedLogits

SETTINGS = (
    FULL,
    KVSpec(method="snapkv", keep=0.3),
    KVSpec(method="h2o", keep=0.5, precision="int8"),
    KVSpec(method="full", precision="int4"),
    KVSpec(method="streaming_llm", keep=0.4, scope="media"),
    KVSpec(method="adakv", keep=0.3),
)
LONG = GenerationSpec(max_new_tokens=6, max_batch=16)
QUESTIONS = ("What is shown?", "How often does the red circle cross the line?", "Where?")


@pytest.fixture(scope="module")
def media(demo: Model) -> list[list[Visual]]:
    return [
        [demo.visual(Scene("video", range(0, n + 1, 2), size=(64, 64), seed=n))] for n in (6, 8, 12)
    ]


def ask(decoder: Any, media: Sequence[list[Visual]], spec: GenerationSpec = LONG) -> DecodeEngine:
    engine: DecodeEngine = decoder.engine(spec, SETTINGS)
    for number, visuals in enumerate(media):
        engine.ask(number, decoder.prefill(visuals, SETTINGS), QUESTIONS, 3 * number)
    return engine


def digests(answers: Sequence[Sequence[Generation]]) -> list[list[str]]:
    return [[one.logits_sha256 for one in of_setting] for of_setting in answers]


def test_media_and_settings_decoded_together_answer_as_alone(
    decoder: Any, media: list[list[Visual]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    together = ask(decoder, media).finish()
    for number, visuals in enumerate(media):
        for setting, kv in enumerate(SETTINGS):
            for question, text in enumerate(QUESTIONS):
                engine = decoder.engine(LONG.model_copy(update={"max_batch": 1}), [kv])
                engine.ask("", decoder.prefill(visuals, [kv]), [text])
                ((alone,),) = engine.finish()[""]
                logits.assert_close(together[number][setting][question], alone)


def test_who_else_is_decoded_changes_no_bit(decoder: Any, media: list[list[Visual]]) -> None:
    together = ask(decoder, media).finish()
    for number, visuals in enumerate(media):
        engine = decoder.engine(LONG, SETTINGS)
        engine.ask("", decoder.prefill(visuals, SETTINGS), QUESTIONS, 3 * number)
        assert digests(engine.finish()[""]) == digests(together[number])


def test_memory_that_runs_out_changes_no_bit(
    decoder: Any, media: list[list[Visual]], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = ask(decoder, media).finish()
    flushed: list[int] = []
    flush = DecodeEngine.flush

    def noted(engine: DecodeEngine) -> None:
        flushed.append(engine._seating.nbytes)
        flush(engine)

    monkeypatch.setattr(DecodeEngine, "flush", noted)
    tight = ask(decoder, media, LONG.model_copy(update={"max_cache_gib": 1e-6})).finish()
    assert len(flushed) >= len(media)
    assert {key: digests(one) for key, one in tight.items()} == {
        key: digests(one) for key, one in together.items()
    }


def test_rows_that_join_at_any_step_decode_as_alone(
    decoder: Any, media: list[list[Visual]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cohorts join a batch that is running, take vacated places, and leave row by row."""
    model, chance = decoder.model, random.Random(0)
    expected = {
        (setting, number, question): answer.token_ids
        for number, by_setting in ask(decoder, media).finish().items()
        for setting, answers in enumerate(by_setting)
        for question, answer in enumerate(answers)
    }
    engine = ask(decoder, media)
    waiting = [
        seat for wave in engine._seating.waves.values() for seat in wave.seats if seat.cohort
    ]
    chance.shuffle(waiting)
    batch = RunningBatch(model, num_places=24)
    rows: dict[int, Any] = {}
    with batch.decoding():
        while waiting or rows:
            free = [place for place in range(24) if place not in batch.places]
            while waiting and len(free) >= len(waiting[-1].rows) and chance.random() < 0.5:
                seat = waiting.pop()
                places = chance.sample(free, len(seat.rows))
                last = torch.tensor([row.answer.token_ids[-1] for row in seat.rows])
                batch.join(seat.cohort, places, last)
                rows |= dict(zip(places, seat.rows, strict=True))
                free = [place for place in free if place not in places]
            ended = [place for place, row in rows.items() if row.answer.has_ended]
            if ended:
                batch.leave(ended)
                rows = {place: row for place, row in rows.items() if place not in ended}
            if rows:
                logits = batch.step()
                for place, row in rows.items():
                    row.answer.write(int(batch.tokens[place]), logits[place])
    assert batch.allocated_bytes == 0
    for row in engine._seating.rows:
        got = tuple(row.answer.token_ids)
        assert got == expected[row.setting, row.key, row.question]


def test_an_empty_batch_and_an_empty_wave_are_nothing(decoder: Any) -> None:
    batch = RunningBatch(decoder.model, num_places=2)
    assert batch.places == frozenset()
    assert batch.allocated_bytes == 0
    decode(decoder.model, Wave(num_places=2))
    assert decoder.engine(LONG).finish() == {}


def test_a_row_that_ends_with_its_first_token_is_not_decoded(
    decoder: Any, media: list[list[Visual]], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(RunningBatch, "step", lambda self: steps.append(1))
    found = ask(decoder, media, GenerationSpec(max_new_tokens=1)).finish()
    assert steps == []
    assert all(len(one.token_ids) == 1 for one in found[0][0])


def test_places_are_taken_once(decoder: Any, media: list[list[Visual]]) -> None:
    engine = ask(decoder, media[:1])
    seat = next(iter(engine._seating.waves.values())).seats[0]
    assert seat.cohort is not None
    batch = RunningBatch(decoder.model, num_places=4)
    tokens = torch.zeros(3, dtype=torch.long)
    for places in ([0, 1], [0, 1, 1], [2, 3, 4]):
        with pytest.raises(ValueError, match="rows want the places"):
            batch.join(seat.cohort, places, tokens)
    batch.join(seat.cohort, [0, 1, 2], tokens)
    with pytest.raises(ValueError, match=r"taken: \[0, 1, 2\]"):
        batch.join(seat.cohort, [2, 3, 1], tokens)
    with pytest.raises(ValueError, match=r"\[3\] are vacant"):
        batch.leave([3])


def test_more_questions_than_places_are_answered_in_turns(
    decoder: Any, media: list[list[Visual]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    questions = [f"What is shown, {n}?" for n in range(7)]
    prefix = decoder.prefill(media[0], SETTINGS)
    few = decoder.answer(prefix, questions, LONG.model_copy(update={"max_batch": 3}), SETTINGS)
    many = decoder.answer(prefix, questions, LONG, SETTINGS)
    for some, others in zip(few, many, strict=True):
        for one, other in zip(some, others, strict=True):
            logits.assert_close(one, other)
