"""The workers: plain classes that walk one branch of the tree at a time. No Ray in here.

Each is made in its own process from a run's configuration, and answers with plain JSON values.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from encodeonce.datasets.media import MediaError, MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.config import RunConfig
from encodeonce.harness.decoders import DecoderShelf
from encodeonce.harness.features import FeatureSource, decode_all
from encodeonce.harness.plan import Branch, MediaGroup, PlannedMedia
from encodeonce.harness.record import SampleError
from encodeonce.harness.scoring import continuations
from encodeonce.harness.scribe import Result, Scribe, scoring_of
from encodeonce.harness.sweeper import Sweeper, Swept
from encodeonce.harness.workplace import Workplace
from encodeonce.models.family import Decoded, Visual
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.timing import Stopwatch
from encodeonce.models.weights import WeightsSpec

logger = logging.getLogger(__name__)


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

    def __init__(
        self, config: RunConfig, fingerprint: str, only: WeightsSpec | None = None
    ) -> None:
        """Open the store; load a decoder if it is known which.

        Args:
            config: the run.
            fingerprint: of the run's folder.
            only: the weight variant, if there is just one: what keeps it from loading keeps the
                worker from starting. Otherwise each is loaded when its turn comes.
        """
        self._workplace = Workplace(config)
        self._stopwatch = Stopwatch()
        self._source = self._workplace.feature_source(self._stopwatch)
        self._decoders = DecoderShelf(self._workplace.decoder)
        self._sweeper = Sweeper(config)
        self._scribe = Scribe(config, fingerprint, self._stopwatch)
        if only is not None:
            self._decoders.put(only)

    def do(self, branch: Branch) -> list[dict[str, Any]]:
        """Answer and score every sample of a group; a failure becomes a typed error."""
        self._stopwatch.take()
        self._source.take_use()
        try:
            visuals = [self._fetch(branch.group, ref) for ref in branch.group.media]
            decoder = self._decoders.get(branch.weights)
        # What keeps the features away (a damaged file, a miss) fails these samples alone.
        except Exception as error:
            logger.info("group %s failed", branch.group.media, exc_info=True)
            return self._scribe.all_failed(branch, error, self._source.take_use())
        swept = self._sweeper.sweep(decoder, visuals, branch)
        unbooked = {title: one.seconds for title, one in swept.items() if isinstance(one, Swept)}

        def answer(kv: KVSpec, sample: Sample, prompt: str) -> Result | SampleError:
            self._book(unbooked.pop(kv.title, {}))
            decoder.check(prompt)
            found = swept[kv.title]
            return found.results[sample.id] if isinstance(found, Swept) else found

        loaded = self._decoders.take_loaded()
        return self._scribe.write(branch, answer, self._source.take_use(), loaded)

    def expect(self, branch: Branch) -> None:
        """Begin to read the features of the next group."""
        group = branch.group
        for ref in group.media:
            try:
                request = self._workplace.request(group.root, ref, group.benchmark)
            except MediaError:  # said when it is that group's turn
                return
            self._source.read_ahead(request)

    def close(self) -> None:
        """Stop the threads."""
        self._source.close()

    def _book(self, seconds: Mapping[str, float]) -> None:
        for stage, value in seconds.items():
            self._stopwatch.add(stage, value)

    def _fetch(self, group: MediaGroup, ref: MediaRef) -> Visual:
        with self._stopwatch.stage("look up"):
            request = self._workplace.request(group.root, ref, group.benchmark)
        return self._source.visual(request)


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
        self._scribe = Scribe(config, fingerprint, self._stopwatch)

    def do(self, branch: Branch) -> list[dict[str, Any]]:
        """Answer and score every sample of a group; a failure becomes a typed error."""
        self._stopwatch.take()
        group = branch.group
        scoring = self._scoring[group.benchmark]

        def answer(kv: KVSpec, sample: Sample, prompt: str) -> Result:
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

        return self._scribe.write(branch, answer)

    def expect(self, branch: Branch) -> None:
        """Nothing is begun early: this is the plain way."""

    def close(self) -> None:
        """Nothing to give back."""

    def _decode(self, group: MediaGroup, ref: MediaRef) -> Decoded:
        with self._stopwatch.stage("look up"):
            request = self._workplace.request(group.root, ref, group.benchmark)
        frames = decode_all(request, self._stopwatch)
        return Decoded(info=request.info, units=request.units, frames=frames)
