"""What caching saves on one video: nothing cached, features, a shared prefix, a resident one.

Every way answers the same questions; each run is timed as a whole, after one that is not.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from encodeonce.datasets.media import MediaKind
from encodeonce.datasets.sampling import FrameSampling
from encodeonce.harness.bench_workplace import bench_request, bench_workplace
from encodeonce.harness.features import FeatureSource, MediaRequest, decode_all
from encodeonce.harness.report import Section, Table
from encodeonce.harness.text import human_bytes
from encodeonce.harness.workplace import Workplace
from encodeonce.models.family import (
    Decoded,
    Decoder,
    Generation,
    GenerationSpec,
    Tower,
    Visual,
)
from encodeonce.models.memory import peak, reset_peak
from encodeonce.models.spec import ModelSpec, VisionSpec
from encodeonce.models.timing import Stopwatch, synchronize

Answers = tuple[list[Generation], float]
"""Answers, and the seconds from the start until the first token of the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixBench:
    """What to measure."""

    model: ModelSpec
    vision: VisionSpec
    media: Path
    """A picture or a video."""
    kind: MediaKind
    frames: FrameSampling
    questions: tuple[str, ...]
    num_runs: int
    num_new_tokens: int
    folder: Path
    """For the feature store."""


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
    """GPU memory allocated, or resident memory; None where the system does not say."""
    kv_bytes: int
    """Keys and values of what the questions share; 0 where they share nothing."""
    num_same_as_no_cache: int
    """Answers with the same tokens as without any cache."""
    num_answers: int

    @property
    def median_s(self) -> float:
        """Median of the totals."""
        return statistics.median(self.total_s)

    @property
    def tokens_per_s(self) -> float:
        """Generated tokens a second, of the median run."""
        return self.num_generated_tokens / self.median_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What all ways work on."""

    bench: PrefixBench
    workplace: Workplace
    request: MediaRequest
    stopwatch: Stopwatch

    @property
    def generation(self) -> GenerationSpec:
        return GenerationSpec(max_new_tokens=self.bench.num_new_tokens)

    def source(self, load_tower: Callable[[], Tower] | None = None) -> FeatureSource:
        store = self.workplace.open_store()
        return FeatureSource(store, load_tower, self.stopwatch, self.workplace.provenance())

    def decoder(self) -> Decoder:
        bench = self.bench
        return self.workplace.family.decoder(self.workplace.checkpoint, bench.model, bench.vision)

    def visuals(self, source: FeatureSource) -> list[Visual]:
        features = source.fetch(self.request)
        return [Visual(info=self.request.info, units=self.request.units, features=features)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A way of answering with its model loaded."""

    answer: Callable[[], Answers]
    kv_bytes: int = 0


def run_prefix_bench(bench: PrefixBench, on_run: Callable[[str], None]) -> list[Measurement]:
    """Measure all four ways, one after another; only what a way needs is in memory.

    Args:
        bench: what to measure.
        on_run: called before each run, with the way's name.
    """
    workplace = bench_workplace(bench.model, bench.vision, bench.frames, bench.folder)
    request = bench_request(workplace, bench.media, bench.kind)
    scene = _Scene(bench=bench, workplace=workplace, request=request, stopwatch=Stopwatch())
    with closing(scene.source(workplace.vision.load)) as source:
        source.ensure(request)
    del source
    found = []
    expected: list[Generation] = []
    ways = {
        "no cache": _no_cache,
        "features": _features,
        "features, shared prefix": _shared_prefix,
        "resident prefix": _resident_prefix,
    }
    for name, load in ways.items():
        gc.collect()
        way = load(scene)
        found.append(_measure(name, way, scene, on_run, expected))
        del way
    return found


def _no_cache(scene: _Scene) -> _Way:
    workplace, request = scene.workplace, scene.request
    reference = workplace.family.reference(workplace.checkpoint, scene.bench.model)

    def answer_one(question: str) -> Answers:
        start = time.perf_counter()
        frames = decode_all(request, scene.stopwatch)
        decode_s = time.perf_counter() - start
        media = Decoded(info=request.info, units=request.units, frames=frames)
        answer = reference.answer([media], question, scene.generation)
        return [answer], decode_s + _until_first_token(answer)

    return _Way(answer=lambda: _one_by_one(answer_one, scene.bench.questions))


def _features(scene: _Scene) -> _Way:
    decoder, source = scene.decoder(), scene.source()

    def answer_one(question: str) -> Answers:
        start = time.perf_counter()
        visuals = scene.visuals(source)
        read_s = time.perf_counter() - start
        answers = decoder.answer(visuals, [question], scene.generation)
        return answers, read_s + _until_first_token(answers[0])

    return _Way(answer=lambda: _one_by_one(answer_one, scene.bench.questions))


def _shared_prefix(scene: _Scene) -> _Way:
    decoder, source = scene.decoder(), scene.source()

    def answer() -> Answers:
        start = time.perf_counter()
        visuals = scene.visuals(source)
        read_s = time.perf_counter() - start
        answers = decoder.answer(visuals, scene.bench.questions, scene.generation)
        return answers, read_s + _until_first_token(answers[0])

    return _Way(answer=answer, kv_bytes=decoder.prefill(scene.visuals(source)).nbytes)


def _resident_prefix(scene: _Scene) -> _Way:
    decoder = scene.decoder()
    prefix = decoder.prefill(scene.visuals(scene.source()))

    def answer() -> Answers:
        answers = decoder.answer_from(prefix, scene.bench.questions, scene.generation)
        return answers, _until_first_token(answers[0])

    return _Way(answer=answer, kv_bytes=prefix.nbytes)


def _one_by_one(answer_one: Callable[[str], Answers], questions: Sequence[str]) -> Answers:
    results = [answer_one(question) for question in questions]
    return [answer for answers, _ in results for answer in answers], results[0][1]


def _measure(
    name: str,
    way: _Way,
    scene: _Scene,
    on_run: Callable[[str], None],
    expected: list[Generation],
) -> Measurement:
    """Run once to warm up, then time; the answers of the first way become ``expected``."""
    on_run(name)
    answers, _ = way.answer()
    if not expected:
        expected.extend(answers)
    reset_peak()
    scene.stopwatch.take()
    num_runs = scene.bench.num_runs
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
        for seconds in (scene.stopwatch.take(), *(answer.seconds for answer in answers)):
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


def sections(found: Sequence[Measurement]) -> list[Section]:
    """Return the report of a measurement."""
    baseline = found[0].median_s
    rows = [
        (
            one.name,
            _spread(one.first_token_s),
            _spread(one.total_s),
            f"{baseline / one.median_s:.2f}x",
            f"{one.tokens_per_s:.1f}",
            "-" if one.peak_bytes is None else human_bytes(one.peak_bytes),
            human_bytes(one.kv_bytes) if one.kv_bytes else "-",
            f"{one.num_same_as_no_cache} of {one.num_answers}",
        )
        for one in found
    ]
    columns = (
        "way",
        "first token, s",
        "all answers, s",
        "faster",
        "tokens/s",
        "peak memory",
        "shared KV",
        "same tokens",
    )
    stages = dict.fromkeys(stage for one in found for stage in one.stages_s)
    split = [
        (one.name, *(f"{one.stages_s.get(stage, 0.0):.3f}" for stage in stages)) for one in found
    ]
    return [
        Section(
            title="All questions on one media",
            table=Table(columns=columns, rows=tuple(rows)),
            sentences=("Medians (lowest to highest) after one run that is not counted.",),
        ),
        Section(
            title="Seconds by stage",
            table=Table(columns=("way", *stages), rows=tuple(split)),
            sentences=(
                "Means over runs. Without a cache preprocessing is part of 'prepare' and the tower "
                "part of 'prefill'.",
            ),
        ),
    ]


def to_json(bench: PrefixBench, found: Sequence[Measurement]) -> dict[str, Any]:
    """Return everything that was measured as plain JSON values."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "model": bench.model.model_dump(mode="json"),
        "questions": list(bench.questions),
        "num_new_tokens": bench.num_new_tokens,
        "device": device,
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "ways": [
            {**asdict(one), "median_s": one.median_s, "tokens_per_s": one.tokens_per_s}
            for one in found
        ],
    }


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
