"""Requests that come and go at any step, against the engine that answers them offline."""

from typing import Any

import pytest

from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.serving.pool import Served, ServingPool
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual
from tests.contracts.family import Model, Scene

SETTINGS = (
    FULL,
    KVSpec(method="snapkv", keep=0.3),
    KVSpec(method="h2o", keep=0.5, precision="int8"),
    KVSpec(method="full", precision="int4"),
    KVSpec(method="streaming_llm", keep=0.4, scope="media"),
    KVSpec(method="pyramidkv", keep=0.3),
)
LENGTH = 9
QUESTION = "How often does the red circle cross the line?"


@pytest.fixture(scope="module")
def media(demo: Model) -> list[list[Visual]]:
    return [
        [demo.visual(Scene("video", range(0, n + 1, 2), size=(64, 64), seed=n))] for n in (6, 10)
    ]


@pytest.fixture
def pool(decoder: Any) -> ServingPool:
    return ServingPool(decoder.model, decoder.tokenizer)


def prepared(pool: ServingPool, decoder: Any, visuals: Any, kv: KVSpec, **more: Any) -> Served:
    prefix = decoder.prefill(visuals, (kv,))
    served = pool.read(prefix, QUESTION, kv, LENGTH, **{"is_forced": True, **more})
    if not kv.is_full:
        pool.compress(served)
    if kv.scope == "media":
        pool.read_late(served)
    return served


def alone(pool: ServingPool, decoder: Any, visuals: Any, kv: KVSpec) -> tuple[int, ...]:
    served = prepared(pool, decoder, visuals, kv)
    pool.join(served)
    while not served.has_ended:
        pool.step()
    pool.drop(served)
    return pool.answer(served).token_ids


def test_who_joins_and_leaves_changes_no_token(
    pool: ServingPool, decoder: Any, media: list[list[Visual]]
) -> None:
    wanted = [(visuals, kv) for visuals in media for kv in SETTINGS]
    expected = [alone(pool, decoder, visuals, kv) for visuals, kv in wanted]
    running: dict[int, Served] = {}
    found: dict[int, tuple[int, ...]] = {}
    todo = list(enumerate(wanted))
    while todo or running:
        for number, (visuals, kv) in todo[:1]:
            running[number] = prepared(pool, decoder, visuals, kv)
            pool.join(running[number])
        del todo[:1]
        pool.step()
        for number, served in list(running.items()):
            if served.has_ended:
                pool.drop(running.pop(number))
                found[number] = pool.answer(served).token_ids
    assert [found[number] for number in range(len(wanted))] == expected
    assert all(len(tokens) == LENGTH for tokens in expected)
    assert pool.allocated_bytes() == 0
    assert pool.num_places == 1


@pytest.mark.parametrize("kv", SETTINGS, ids=lambda kv: kv.title)
def test_texts_are_the_offline_engines(
    pool: ServingPool, decoder: Any, media: list[list[Visual]], kv: KVSpec
) -> None:
    spec = GenerationSpec(max_new_tokens=LENGTH, max_batch=1)
    engine = decoder.engine(spec, [kv])
    engine.ask("", decoder.prefill(media[0], [kv]), [QUESTION])
    ((offline,),) = engine.finish()[""]
    served = prepared(pool, decoder, media[0], kv, is_forced=False)
    pool.join(served)
    while not served.has_ended:
        pool.step()
    pool.drop(served)
    assert pool.answer(served).token_ids == offline.token_ids
    assert pool.answer(served).kv == offline.kv


@pytest.mark.parametrize("kv", SETTINGS, ids=lambda kv: kv.title)
def test_an_answer_goes_on_after_its_cache_was_dropped(
    pool: ServingPool, decoder: Any, media: list[list[Visual]], kv: KVSpec
) -> None:
    expected = alone(pool, decoder, media[0], kv)
    served = prepared(pool, decoder, media[0], kv)
    pool.join(served)
    for _ in range(4):
        pool.step()
    emitted = tuple(served.row.answer.token_ids)
    pool.drop(served)
    assert emitted == expected[:5]
    again = prepared(pool, decoder, media[0], kv, emitted=emitted)
    pool.join(again)
    while not again.has_ended:
        pool.step()
    pool.drop(again)
    assert pool.answer(again).token_ids == expected


def test_places_that_are_taken_are_not_given_up(
    pool: ServingPool, decoder: Any, media: list[list[Visual]]
) -> None:
    both = [prepared(pool, decoder, media[0], SETTINGS[0]) for _ in range(3)]
    for served in both:
        pool.join(served)
    assert pool.num_places == 4
    with pytest.raises(ValueError, match=r"places \[2\] are taken; 2 are too few"):
        pool._batch.resize(2)
    pool.drop(both[2])
    assert pool.num_places == 2
