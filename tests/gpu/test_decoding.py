"""Whole answers of the demo's model from a GPU, against those from a processor."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import pytest
import torch

from encodeonce.models.answer import Generation
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.kv.running_batch import RunningBatch
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import GenerationSpec, ModelSpec, VisionSpec
from encodeonce.models.vision.visual import Visual
from tests.contracts.family import Model, Scene
from tests.contracts.logits import NotedLogits

SETTINGS = (
    FULL,
    KVSpec(method="adakv", keep=0.3),
    KVSpec(method="snapkv", keep=0.5, precision="int8"),
    KVSpec(method="full", precision="int4"),
    KVSpec(method="streaming_llm", keep=0.4, scope="media"),
    KVSpec(method="prefixkv", keep=0.3, options={"mode": "paper"}),
)
QUESTIONS = ("What is shown?", "How often does the red circle cross the line?", "Where?")
SPEC = GenerationSpec(max_new_tokens=40, max_batch=8)
TOLERANCE = 1e-3
"""Of float32 logits, as a part of the largest: quantisation makes a step of a rounding error."""


@pytest.fixture(scope="module")
def demo() -> Model:
    return Model(DEMO_CHECKPOINT, VisionSpec())


@pytest.fixture(scope="module")
def media(demo: Model) -> list[list[Visual]]:
    return [[demo.visual(Scene("video", range(0, n, 2), size=(64, 64), seed=n))] for n in (7, 11)]


@pytest.fixture(scope="module")
def decoder(gpu: torch.device, demo: Model) -> Any:
    spec = ModelSpec(path=str(DEMO_CHECKPOINT), dtype="float32", device=str(gpu))
    return demo.family.decoder(demo.folder, spec, VisionSpec())


def waiting(
    decoder: Any, media: Sequence[list[Visual]], settings: Sequence[KVSpec], spec: GenerationSpec
) -> Any:
    """Return an engine with questions read, whose answers will be of different lengths."""
    engine = decoder.engine(spec, settings)
    engine._ends = frozenset()
    for number, visuals in enumerate(media):
        engine.ask(number, decoder.prefill(visuals, settings), QUESTIONS, 3 * number)
    for row, length in zip(engine._seating.rows, cycle((40, 5, 37, 1, 12)), strict=False):
        row.answer._max_new_tokens = length
    return engine


def answers(
    decoder: Any,
    media: Sequence[list[Visual]],
    settings: Sequence[KVSpec] = SETTINGS,
    spec: GenerationSpec = SPEC,
) -> list[Generation]:
    by_setting = waiting(decoder, media, settings, spec).finish().values()
    return [one for settings in by_setting for some in settings for one in some]


def assert_close(logits: NotedLogits, found: Generation, expected: Generation) -> None:
    """Compare two answers up to where rounding chooses another token."""
    ours, theirs = logits.of(found), logits.of(expected)
    for step, (one, other) in enumerate(zip(ours.token_ids, theirs.token_ids, strict=True)):
        scale = theirs.scale(step)
        difference = (ours.logits_TV[step] - theirs.logits_TV[step]).abs().max()
        assert difference <= TOLERANCE * scale
        if one != other:
            assert theirs.lead(step, one) <= 2 * TOLERANCE * scale
            return


def test_a_gpu_answers_as_a_processor_does(
    decoder: Any, demo: Model, media: list[list[Visual]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    for found, expected in zip(answers(decoder, media), answers(demo.decoder, media), strict=True):
        assert_close(logits, found, expected)


def test_replayed_cuda_graphs_answer_as_computed_steps(
    decoder: Any, media: list[list[Visual]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, graphs = NotedLogits(monkeypatch), SPEC.model_copy(update={"cuda_graphs": True})
    replays = counted(monkeypatch)
    recorded = answers(decoder, media, SETTINGS[:-1], graphs)
    assert replays, "nothing was recorded"
    for found, expected in zip(recorded, answers(decoder, media, SETTINGS[:-1]), strict=True):
        assert_close(logits, found, expected)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each replay of a graph."""
    replays: list[int] = []
    replay = torch.cuda.CUDAGraph.replay

    def noted(graph: torch.cuda.CUDAGraph) -> None:
        replays.append(1)
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", noted)
    return replays


@contextmanager
def refusing_to_wait() -> Iterator[None]:
    """Let PyTorch raise an error where the host waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_no_step_waits_for_the_gpu(
    decoder: Any, media: list[list[Visual]], setting: KVSpec
) -> None:
    engine = waiting(decoder, media, (setting,), SPEC)
    (wave,) = engine._seating.waves.values()
    batch = RunningBatch(decoder.model, wave.num_places)
    for seat in wave.seats:
        last = torch.tensor([row.answer.token_ids[-1] for row in seat.rows])
        batch.join(seat.cohort, seat.places, last)
    with batch.decoding():
        batch.step()  # kernels are loaded
        with refusing_to_wait():
            for _ in range(3):
                batch.step()
            batch.leave(wave.seats[0].places[1:])
            batch.step()
