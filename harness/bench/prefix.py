"""Measures caching on one media item: none, features, a shared prefix, a resident prefix.

Every way answers the same questions; each run is timed as a whole, after an untimed one. Encoding,
which is done beforehand for all ways but the first, is measured separately.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from encodeonce.harness.bench.scene import Scene, SceneSpec
from encodeonce.models.answer import Generation, sum_seconds
from encodeonce.models.checkpoint.footprint import peak, reset_peak
from encodeonce.models.family import Decoder
from encodeonce.models.spec import NONE, GenerationSpec
from encodeonce.models.timing import synchronize

Answers = tuple[list[Generation], float]
"""Answers, and the seconds from the start until the first token of the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixBench:
    """What to measure."""

    scene: SceneSpec
    questions: tuple[str, ...]
    num_runs: int
    num_new_tokens: int
    max_batch: int
    """Most questions answered together; fewer need less memory."""

    @property
    def generation(self) -> GenerationSpec:
        """How answers are generated."""
        return GenerationSpec(max_new_tokens=self.num_new_tokens, max_batch=self.max_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Encoding the features that are then stored, over all runs."""

    total_s: tuple[float, ...]
    stages_s: dict[str, float]
    """Seconds of ``decode``, ``preprocess``, ``encode``; means over runs."""
    num_units: int
    feature_bytes: int

    @property
    def median_s(self) -> float:
        """Median of the totals."""
        return statistics.median(self.total_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One way of answering, over all runs."""

    name: str
    total_s: tuple[float, ...]
    """From the start until the last token of the last answer, by run."""
    first_token_s: tuple[float, ...]
    num_generated_tokens: int
    stages_s: dict[str, float]
    """Seconds by stage, means over runs."""
    peak_bytes: int | None
    """GPU memory allocated, or resident memory; None where the system does not report it."""
    kv_bytes: int
    """Bytes of the keys and values that the questions share; 0 where they share none."""
    num_same_as_no_cache: int
    """Answers with the same tokens as without any cache."""
    num_answers: int

    @property
    def median_s(self) -> float:
        """Median of the totals."""
        return statistics.median(self.total_s)

    @property
    def tokens_per_s(self) -> float:
        """Generated tokens per second, of the median run."""
        return self.num_generated_tokens / self.median_s


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixResult:
    """All measurements."""

    encoding: Encoding
    ways: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A way of answering with its model loaded."""

    answer: Callable[[], Answers]
    kv_bytes: int = 0


def run_prefix_bench(bench: PrefixBench, on_run: Callable[[str], None]) -> PrefixResult:
    """Measure encoding and all four ways in turn; memory holds only what the current one needs.

    Args:
        bench: what to measure.
        on_run: called before each run, with the way's name.

    Raises:
        CheckpointError: the model cannot be used.
        MediaError: the media cannot be used.
    """
    ways = {
        "no cache": _no_cache,
        "features": _features,
        "features, shared prefix": _shared_prefix,
        "resident prefix": _resident_prefix,
    }
    found = []
    expected: list[Generation] = []
    with closing(Scene(bench.scene)) as scene:
        encoding = _encode(scene, bench.num_runs, on_run)
        for name, load in ways.items():
            gc.collect()
            way = load(scene, bench)
            found.append(_measure(name, way, scene, bench, on_run, expected))
            del way
    return PrefixResult(encoding=encoding, ways=tuple(found))


def _encode(scene: Scene, num_runs: int, on_run: Callable[[str], None]) -> Encoding:
    """Encode once to warm up, then time; the features are stored."""
    request = scene.request
    with scene.encoding() as session:
        on_run("encoding")
        features = session.features.encode(request, request.units)
        session.stopwatch.take()
        totals = []
        for _ in range(num_runs):
            on_run("encoding")
            start = time.perf_counter()
            session.features.encode(request, request.units)
            totals.append(time.perf_counter() - start)
        stages = {name: value / num_runs for name, value in session.stopwatch.take().items()}
        session.features.ensure(request)
    return Encoding(
        total_s=tuple(totals),
        stages_s=stages,
        num_units=features.num_units,
        feature_bytes=features.nbytes,
    )


def _no_cache(scene: Scene, bench: PrefixBench) -> _Way:
    reference = scene.session.load_reference()

    def answer_one(question: str) -> Answers:
        start = time.perf_counter()
        media = scene.session.decoded(scene.request)
        decode_s = time.perf_counter() - start
        answer = reference.answer([media], question, bench.generation)
        return [answer], decode_s + _until_first_token(answer)

    return _Way(answer=lambda: _one_by_one(answer_one, bench.questions))


def _features(scene: Scene, bench: PrefixBench) -> _Way:
    decoder = scene.session.decoder_slot.put(NONE)

    def answer_one(question: str) -> Answers:
        return _from_features(scene, decoder, [question], bench.generation)

    return _Way(answer=lambda: _one_by_one(answer_one, bench.questions))


def _shared_prefix(scene: Scene, bench: PrefixBench) -> _Way:
    decoder = scene.session.decoder_slot.put(NONE)

    def answer() -> Answers:
        return _from_features(scene, decoder, bench.questions, bench.generation)

    return _Way(answer=answer, kv_bytes=decoder.prefill(scene.visuals()).nbytes)


def _from_features(
    scene: Scene,
    decoder: Decoder,
    questions: Sequence[str],
    generation: GenerationSpec,
) -> Answers:
    """Answer questions from one prefill; its seconds are booked on the first answer."""
    start = time.perf_counter()
    visuals = scene.visuals()
    read_s = time.perf_counter() - start
    prefix = decoder.prefill(visuals)
    ((first, *others),) = decoder.answer(prefix, questions, generation)
    first = replace(first, seconds=sum_seconds([prefix.seconds, first.seconds]))
    return [first, *others], read_s + _until_first_token(first)


def _resident_prefix(scene: Scene, bench: PrefixBench) -> _Way:
    decoder = scene.session.decoder_slot.put(NONE)
    prefix = decoder.prefill(scene.visuals())

    def answer() -> Answers:
        (answers,) = decoder.answer(prefix, bench.questions, bench.generation)
        return answers, _until_first_token(answers[0])

    return _Way(answer=answer, kv_bytes=prefix.nbytes)


def _one_by_one(answer_one: Callable[[str], Answers], questions: Sequence[str]) -> Answers:
    results = [answer_one(question) for question in questions]
    return [answer for answers, _ in results for answer in answers], results[0][1]


def _measure(
    name: str,
    way: _Way,
    scene: Scene,
    bench: PrefixBench,
    on_run: Callable[[str], None],
    expected: list[Generation],
) -> Measurement:
    """Run once to warm up, then time; the answers of the first way become ``expected``."""
    on_run(name)
    answers, _ = way.answer()
    if not expected:
        expected.extend(answers)
    reset_peak()
    scene.session.stopwatch.take()
    num_runs = bench.num_runs
    totals, firsts = [], []
    stages: dict[str, float] = {}
    for _ in range(num_runs):
        on_run(name)
        synchronize()
        start = time.perf_counter()
        answers, first_s = way.answer()
        synchronize()
        totals.append(time.perf_counter() - start)
        firsts.append(first_s)
        for seconds in (scene.session.stopwatch.take(), *(answer.seconds for answer in answers)):
            for stage, value in seconds.items():
                stages[stage] = stages.get(stage, 0.0) + value / num_runs
    return Measurement(
        name=name,
        total_s=tuple(totals),
        first_token_s=tuple(firsts),
        num_generated_tokens=sum(len(answer.token_ids) for answer in answers),
        stages_s=stages,
        peak_bytes=peak(),
        kv_bytes=way.kv_bytes,
        num_same_as_no_cache=sum(
            ours.token_ids == plain.token_ids for ours, plain in zip(answers, expected, strict=True)
        ),
        num_answers=len(answers),
    )


def _until_first_token(answer: Generation) -> float:
    return answer.seconds.get("prepare", 0.0) + answer.seconds["prefill"]
