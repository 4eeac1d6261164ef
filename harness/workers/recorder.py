"""Turns results into records: scores them, and books the time and memory that they took."""

import logging
import math
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, Sample
from encodeonce.harness.run.config import RunConfig, Scoring
from encodeonce.harness.run.passing import is_own_fault
from encodeonce.harness.run.plan import Branch
from encodeonce.harness.run.record import CacheUse, Record, SampleError
from encodeonce.harness.run.scoring import with_generation, with_likelihoods
from encodeonce.harness.run.variant import Variant
from encodeonce.models.answer import Generation, Likelihoods, LoadedWeights
from encodeonce.models.checkpoint.footprint import peak
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.timing import Stopwatch

logger = logging.getLogger(__name__)

Result = Generation | Likelihoods
Answer = Callable[[KVSpec, Sample, str], Result | SampleError]
"""Returns a sample's result under a setting, given its prompt."""
NO_USE = CacheUse()


class Recorder:
    """Makes the records of a run's branches."""

    def __init__(self, config: RunConfig, fingerprint: str, stopwatch: Stopwatch) -> None:
        self._fingerprint = fingerprint
        self._stopwatch = stopwatch
        self._scoring = scoring_of(config)
        self._benchmarks: Mapping[str, Benchmark] = {
            spec.title: load_benchmark(spec.name, spec.options) for spec in config.benchmarks
        }

    def record(
        self,
        branch: Branch,
        answer: Answer,
        media_sha256: Sequence[str],
        use: CacheUse = NO_USE,
        loaded: LoadedWeights | None = None,
    ) -> list[dict[str, Any]]:
        """Return a record for each missing answer, one setting after another.

        Args:
            branch: what was to be answered.
            answer: called once for each record; the seconds that it adds to the stopwatch are
                booked on that record.
            media_sha256: digests of the branch's media files, empty where they are not known.
            use: of the store; booked on the first record, with the seconds so far.
            loaded: weights that were loaded for it; noted on the first record.
        """
        records = []
        for unasked, kv, sample, prompt in _missing(self._fingerprint, branch):
            record = replace(unasked, media_sha256=tuple(media_sha256))
            try:
                record = self._answered(record, branch, sample, answer(kv, sample, prompt))
            # A sample that cannot be answered must not fail the others.
            except Exception as error:
                if not is_own_fault(error):  # the block is tried again
                    raise
                logger.info("sample %s failed", sample.id, exc_info=True)
                record = replace(record, error=SampleError.of(error))
            records.append(self._booked(replace(record, loaded=loaded), use))
            use, loaded = NO_USE, None
        return records

    def all_failed(
        self,
        branch: Branch,
        error: Exception,
        media_sha256: Sequence[str],
        use: CacheUse = NO_USE,
    ) -> list[dict[str, Any]]:
        """Return a record with the same error for each missing answer."""
        reason = SampleError.of(error)
        return self.record(branch, lambda kv, sample, prompt: reason, media_sha256, use)

    def _booked(self, record: Record, use: CacheUse) -> dict[str, Any]:
        seconds = dict(self._stopwatch.take())
        return replace(record, seconds=seconds, cache=use, peak_bytes=peak_bytes()).to_dict()

    def _answered(
        self, record: Record, branch: Branch, sample: Sample, result: Result | SampleError
    ) -> Record:
        if isinstance(result, SampleError):
            return replace(record, error=result)
        _refuse_nan(result)
        benchmark = self._benchmarks[branch.group.benchmark]
        if isinstance(result, Generation):
            return with_generation(record, benchmark, sample, result)
        scoring = self._scoring[branch.group.benchmark]
        return with_likelihoods(record, benchmark, sample, scoring, result)


class NotANumber(ValueError):
    """A model computed NaN: whatever token came of it is no answer."""


def _refuse_nan(result: Result) -> None:
    if isinstance(result, Generation):
        numbers = tuple(result.first_logits.values())
    else:
        numbers = tuple(result.log_probs)
    if any(math.isnan(number) for number in numbers):
        raise NotANumber(
            "the model's logits are NaN, so its answer means nothing. In float16 some models "
            "overflow: write model.dtype: bfloat16 or float32. Otherwise a number in config.json, "
            "or a KV setting, does not suit the model"
        )


def peak_bytes() -> int:
    """Return the peak memory of this process since it began to load a model."""
    found = peak()
    if found is not None:
        return found
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes, and from 0


def scoring_of(config: RunConfig) -> dict[str, Scoring]:
    """Return how each benchmark of a run is scored, by its name in records."""
    return {spec.title: spec.scoring for spec in config.benchmarks}


def lost_records(
    fingerprint: str, branch: Branch, error: SampleError, media_sha256: tuple[str, ...]
) -> list[Record]:
    """Return the records of a branch whose worker was lost."""
    return [
        replace(record, error=error, media_sha256=media_sha256)
        for record, *_ in _missing(fingerprint, branch)
    ]


def _missing(fingerprint: str, branch: Branch) -> list[tuple[Record, KVSpec, Sample, str]]:
    """Return the records to be written, still without answers, each with its subject."""
    group = branch.group
    asked = list(zip(group.samples, group.prompts, strict=True))
    found = []
    for kv in branch.settings:
        for sample, prompt in asked:
            if (sample.id, kv.title) in branch.missing:
                record = Record(
                    run=fingerprint,
                    benchmark=group.benchmark,
                    sample=sample.id,
                    group=sample.group,
                    variant=Variant.of(branch.weights, kv, branch.adapter).name,
                    question=sample.question,
                    target=sample.target,
                    choices=sample.choices,
                    tags=sample.tags,
                )
                found.append((record, kv, sample, prompt))
    return found
