"""Answers with plain transformers: the worker of ``check_uncached``, a plain class without Ray."""

from typing import Any

from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.blocks import Block
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import Branch
from encodeonce.harness.run.scoring import continuations
from encodeonce.harness.workers.recorder import Recorder, Result, scoring_of
from encodeonce.harness.workers.session import Session
from encodeonce.models.kv.spec import KVSpec


class ReferenceWorker:
    """Answers with plain transformers, as if encodeonce were not there.

    Every question decodes its media, runs the tower and prefills anew. This is what the answers
    from stored features are compared with.
    """

    def __init__(self, config: RunConfig, fingerprint: str) -> None:
        self._session = Session(config)
        self._reference = self._session.load_reference()
        self._generation = config.generation
        self._scoring = scoring_of(config)
        self._recorder = Recorder(config, fingerprint, self._session.stopwatch)

    def do(self, block: Block) -> list[dict[str, Any]]:
        """Answer and score every sample of a block; a failure becomes a typed error."""
        return [record for member in block.members for record in self._answer(member.branch)]

    def _answer(self, branch: Branch) -> list[dict[str, Any]]:
        self._session.stopwatch.take()
        group = branch.group
        scoring = self._scoring[group.benchmark]

        def answer(kv: KVSpec, sample: Sample, prompt: str) -> Result:
            requests = [
                self._session.look_up(group.root, ref, group.benchmark) for ref in sample.media
            ]
            frames = [self._session.decoded(request) for request in requests]
            result: Result
            if scoring == "generate":
                result = self._reference.answer(frames, prompt, self._generation)
            else:
                texts = tuple(continuations(scoring, sample).values())
                result = self._reference.likelihoods(frames, prompt, texts)
            self._session.stopwatch.book(result.seconds)
            return result

        media_sha256 = self._session.media_sha256(group.root, group.media)
        return self._recorder.record(branch, answer, media_sha256)

    def expect(self, block: Block) -> None:
        """Do nothing: the plain way starts nothing early."""

    def close(self) -> None:
        """Close the session; no store was opened."""
        self._session.close()
