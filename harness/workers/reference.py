"""Answers by plain transformers: the worker of ``check_uncached``, a plain class without Ray."""

from typing import Any

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import Branch, MediaGroup
from encodeonce.harness.run.scoring import continuations
from encodeonce.harness.workers.features import decode_all
from encodeonce.harness.workers.recorder import Result, Scribe, scoring_of
from encodeonce.harness.workers.session import Workplace
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.timing import Stopwatch
from encodeonce.models.vision.visual import Decoded


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
