"""Steps that are recorded and replayed, as CUDA graphs are, against steps that are computed."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import pytest

from encodeonce.models.answer import Generation
from encodeonce.models.kv.engine import DecodeEngine
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual
from tests.contracts.family import Model, Scene
from tests.contracts.logits import NotedLogits
from tests.models.kv.op_recorder import OpRecorder

SETTINGS = (
    FULL,
    KVSpec(method="adakv", keep=0.3),
    KVSpec(method="snapkv", keep=0.5, precision="int8"),
    KVSpec(method="full", precision="int4"),
    KVSpec(method="streaming_llm", keep=0.4, scope="media"),
)
QUESTIONS = ("What is shown?", "How often does the red circle cross the line?", "Where?")
SPEC = GenerationSpec(max_new_tokens=36, max_batch=8)
"""More tokens than there is room for at first."""


@pytest.fixture(scope="module")
def media(demo: Model) -> list[list[Visual]]:
    return [[demo.visual(Scene("video", range(0, n, 2), size=(64, 64), seed=n))] for n in (7, 11)]


def answers(
    decoder: Any,
    media: Sequence[list[Visual]],
    recorder: OpRecorder | None = None,
    settings: Sequence[KVSpec] = SETTINGS,
    lengths: Sequence[int] = (SPEC.max_new_tokens,),
) -> list[Generation]:
    """Return answers of given lengths, which nothing else ends."""
    engine: DecodeEngine = decoder.engine(SPEC, settings)
    engine._ends, engine._recorder = frozenset(), recorder
    for number, visuals in enumerate(media):
        engine.ask(number, decoder.prefill(visuals, settings), QUESTIONS, 3 * number)
    for row, length in zip(engine._seating.rows, cycle(lengths), strict=False):
        row.answer._max_new_tokens = length
    return [one for by_setting in engine.finish().values() for some in by_setting for one in some]


def test_replayed_steps_decode_as_computed_ones(
    decoder: Any, media: list[list[Visual]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cohorts of two media under all settings; rows leave at different steps, and room grows."""
    logits, lengths = NotedLogits(monkeypatch), (36, 5, 34, 1, 12, 36, 21)
    expected = answers(decoder, media, lengths=lengths)
    recorder = OpRecorder()
    found = answers(decoder, media, recorder, lengths=lengths)
    for one, other in zip(found, expected, strict=True):
        logits.assert_close(one, other)
    assert {len(one.token_ids) for one in found} == set(lengths)
    assert sum(recording.num_replays for recording in recorder.recordings) > 40


def test_a_step_is_recorded_when_it_is_repeated_and_again_when_room_has_grown(
    decoder: Any, media: list[list[Visual]]
) -> None:
    recorder = OpRecorder()
    answers(decoder, media, recorder, (FULL,))
    # 35 steps: the first is computed; room for 32 of them; the one after is computed again.
    assert [one.num_replays for one in recorder.recordings] == [31, 2]


def test_a_method_that_removes_entries_while_decoding_is_not_recorded(
    decoder: Any, media: list[list[Visual]]
) -> None:
    recorder = OpRecorder()
    settings = (FULL, KVSpec(method="prefixkv", keep=0.3, options={"mode": "paper"}))
    found = answers(decoder, media, recorder, settings)
    expected = answers(decoder, media, settings=settings)
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    assert len(recorder.recordings) == 2  # of the full cache
