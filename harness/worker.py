"""The workers: plain classes that walk one branch of the tree at a time. No Ray in here.

Each is made in its own process from a run's configuration, and answers with plain JSON values.
"""

import logging
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from encodeonce.datasets.media import MediaError, MediaRef
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, Sample
from encodeonce.harness.config import RunConfig, Scoring
from encodeonce.harness.features import FeatureSource, decode_all
from encodeonce.harness.plan import MediaGroup, PlannedMedia
from encodeonce.harness.record import CacheUse, Record, SampleError
from encodeonce.harness.scoring import continuations, with_generation, with_likelihoods
from encodeonce.harness.workplace import Workplace
from encodeonce.models.family import Decoded, Generation, Visual
from encodeonce.models.likelihood import Likelihoods
from encodeonce.models.timing import Stopwatch

logger = logging.getLogger(__name__)

Result = Generation | Likelihoods
Answer = Callable[[Sample, str], Result]
NO_USE = CacheUse()


class PrecomputeWorker:
    """Makes sure that the store holds the features of a media. Never loads the language model."""

    def __init__(self, config: RunConfig) -> None:
        self._workplace = Workplace(config)
        self._stopwatch = Stopwatch()
        self._source = FeatureSource(
            self._workplace.open_store(),
            self._workplace.vision.load,
            self._stopwatch,
            self._workplace.provenance(),
        )

    def do(self, planned: PlannedMedia) -> dict[str, Any]:
        """Encode what is missing of a media.

        Raises:
            MediaError: the media cannot be used.
        """
        self._stopwatch.take()
        self._source.take_use()
        with self._stopwatch.stage("look up"):
            request = self._workplace.request(planned.root, planned.ref, planned.benchmark)
        self._source.ensure(request)
        return {
            "media": request.media.sha256,
            "signature": request.signature.digest,
            "cache": asdict(self._source.take_use()),
            "seconds": self._stopwatch.take(),
        }

    def expect(self, planned: PlannedMedia) -> None:
        """Nothing is begun early: decoding would compete with itself for the cores."""

    def close(self) -> None:
        """Stop the threads; what was put is durable."""
        self._source.close()


class EvaluateWorker:
    """Answers the questions of a media group from stored features. Does not load the tower.

    With ``cache.on_miss: encode`` the tower is loaded at the first miss.
    """

    def __init__(self, config: RunConfig, fingerprint: str) -> None:
        self._workplace = Workplace(config)
        self._stopwatch = Stopwatch()
        load_tower = self._workplace.vision.load if config.cache.on_miss == "encode" else None
        self._source = FeatureSource(
            self._workplace.open_store(),
            load_tower,
            self._stopwatch,
            self._workplace.provenance(),
            memory_bytes=config.cache.memory_mib * 2**20,
        )
        self._decoder = self._workplace.family.decoder(
            self._workplace.checkpoint, config.model, config.vision
        )
        self._generation = config.generation
        self._scoring = scoring_of(config)
        self._scribe = _Scribe(config, fingerprint, self._stopwatch)

    def do(self, group: MediaGroup) -> list[dict[str, Any]]:
        """Answer and score every sample of a group; a failure becomes a typed error."""
        self._stopwatch.take()
        self._source.take_use()
        try:
            visuals = [self._fetch(group, ref) for ref in group.media]
            answers = self._answers(group, visuals)
        # What keeps the features away (a damaged file, a miss), or is too much for the memory,
        # fails these samples alone.
        except Exception as error:
            logger.info("group %s failed", group.media, exc_info=True)
            return self._scribe.all_failed(group, error, self._source.take_use())

        def answer(sample: Sample, prompt: str) -> Result:
            self._decoder.check(prompt)
            return answers[sample.id]

        return self._scribe.write(group, answer, self._source.take_use())

    def expect(self, group: MediaGroup) -> None:
        """Begin to read the features of the next group."""
        for ref in group.media:
            try:
                request = self._workplace.request(group.root, ref, group.benchmark)
            except MediaError:  # said when it is that group's turn
                return
            self._source.read_ahead(request)

    def close(self) -> None:
        """Stop the threads."""
        self._source.close()

    def _answers(self, group: MediaGroup, visuals: Sequence[Visual]) -> dict[str, Result]:
        """Return results by sample id; the seconds of all go on the group's first record."""
        asked = [
            (sample, prompt)
            for sample, prompt in zip(group.samples, group.prompts, strict=True)
            if self._can_ask(prompt)
        ]
        results: dict[str, Result] = {}
        if asked and self._scoring[group.benchmark] == "generate":
            together = [prompt for prompt in dict.fromkeys(group.together) if self._can_ask(prompt)]
            found = self._decoder.answer(visuals, together, self._generation)
            self._book(found)
            by_prompt = dict(zip(together, found, strict=True))
            results.update((sample.id, by_prompt[prompt]) for sample, prompt in asked)
        elif asked:
            scoring = self._scoring[group.benchmark]
            texts = [tuple(continuations(scoring, sample).values()) for sample, _ in asked]
            prompts = [prompt for _, prompt in asked]
            measured = self._decoder.likelihoods(visuals, prompts, texts)
            self._book(measured)
            results.update(
                (sample.id, one) for (sample, _), one in zip(asked, measured, strict=True)
            )
        return results

    def _book(self, results: Sequence[Result]) -> None:
        for result in results:
            for stage, seconds in result.seconds.items():
                self._stopwatch.add(stage, seconds)

    def _can_ask(self, prompt: str) -> bool:
        try:
            self._decoder.check(prompt)
        except ValueError:  # said on the sample's own record
            return False
        return True

    def _fetch(self, group: MediaGroup, ref: MediaRef) -> Visual:
        with self._stopwatch.stage("look up"):
            request = self._workplace.request(group.root, ref, group.benchmark)
        features = self._source.fetch(request)
        return Visual(info=request.info, units=request.units, features=features)


class ReferenceWorker:
    """Answers by plain transformers, as if encodeonce were not there.

    Every question decodes its media, runs the tower and prefills anew. This is what the answers
    from stored features are compared with.
    """

    def __init__(self, config: RunConfig, fingerprint: str) -> None:
        self._workplace = Workplace(config)
        self._stopwatch = Stopwatch()
        self._reference = self._workplace.family.reference(self._workplace.checkpoint, config.model)
        self._generation = config.generation
        self._scoring = scoring_of(config)
        self._scribe = _Scribe(config, fingerprint, self._stopwatch)

    def do(self, group: MediaGroup) -> list[dict[str, Any]]:
        """Answer and score every sample of a group; a failure becomes a typed error."""
        self._stopwatch.take()
        scoring = self._scoring[group.benchmark]

        def answer(sample: Sample, prompt: str) -> Result:
            frames = [self._decode(group, ref) for ref in sample.media]
            result: Result
            if scoring == "generate":
                result = self._reference.answer(frames, prompt, self._generation)
            else:
                texts = tuple(continuations(scoring, sample).values())
                result = self._reference.likelihoods(frames, prompt, texts)
            for stage, seconds in result.seconds.items():
                self._stopwatch.add(stage, seconds)
            return result

        return self._scribe.write(group, answer)

    def expect(self, group: MediaGroup) -> None:
        """Nothing is begun early: this is the plain way."""

    def close(self) -> None:
        """Nothing to give back."""

    def _decode(self, group: MediaGroup, ref: MediaRef) -> Decoded:
        with self._stopwatch.stage("look up"):
            request = self._workplace.request(group.root, ref, group.benchmark)
        frames = decode_all(request, self._stopwatch)
        return Decoded(info=request.info, units=request.units, frames=frames)


class _Scribe:
    """Turns answers into records."""

    def __init__(self, config: RunConfig, fingerprint: str, stopwatch: Stopwatch) -> None:
        self._fingerprint = fingerprint
        self._stopwatch = stopwatch
        self._scoring = scoring_of(config)
        self._benchmarks: Mapping[str, Benchmark] = {
            spec.title: load_benchmark(spec.name, spec.options) for spec in config.benchmarks
        }

    def write(
        self, group: MediaGroup, answer: Answer, use: CacheUse = NO_USE
    ) -> list[dict[str, Any]]:
        """Answer every sample; ``use`` and the seconds so far go on the first record."""
        records = []
        for sample, prompt in zip(group.samples, group.prompts, strict=True):
            record = empty_record(self._fingerprint, group, sample, error=None)
            try:
                record = self._answered(record, group, sample, answer(sample, prompt))
            # One sample that cannot be answered must not take the others with it.
            except Exception as error:
                logger.info("sample %s failed", sample.id, exc_info=True)
                record = replace(record, error=SampleError.of(error))
            records.append(self._booked(record, use))
            use = NO_USE
        return records

    def all_failed(
        self, group: MediaGroup, error: Exception, use: CacheUse
    ) -> list[dict[str, Any]]:
        """Return a record with the same error for every sample of a group."""
        reason = SampleError.of(error)
        records = []
        for sample in group.samples:
            record = empty_record(self._fingerprint, group, sample, reason)
            records.append(self._booked(record, use))
            use = NO_USE
        return records

    def _booked(self, record: Record, use: CacheUse) -> dict[str, Any]:
        seconds = dict(self._stopwatch.take())
        return replace(record, seconds=seconds, cache=use, peak_bytes=peak_bytes()).to_dict()

    def _answered(
        self, record: Record, group: MediaGroup, sample: Sample, result: Result
    ) -> Record:
        benchmark = self._benchmarks[group.benchmark]
        if isinstance(result, Generation):
            return with_generation(record, benchmark, sample, result)
        scoring = self._scoring[group.benchmark]
        return with_likelihoods(record, benchmark, sample, scoring, result)


def scoring_of(config: RunConfig) -> dict[str, Scoring]:
    """Return how each benchmark of a run is scored, by its name in records."""
    return {spec.title: spec.scoring for spec in config.benchmarks}


def empty_record(
    fingerprint: str, group: MediaGroup, sample: Sample, error: SampleError | None
) -> Record:
    """Return the record of a sample that has no answer (yet)."""
    return Record(
        run=fingerprint,
        benchmark=group.benchmark,
        sample=sample.id,
        group=sample.group,
        question=sample.question,
        target=sample.target,
        tags=sample.tags,
        error=error,
    )


def peak_bytes() -> int:
    """Return the most memory this process has held: GPU memory, or resident memory on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB, except on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
