"""Fills the store: the worker of `encodeonce precompute`, a plain class without Ray."""

from dataclasses import asdict
from typing import Any

from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import PlannedMedia
from encodeonce.harness.workers.features import FeatureSource
from encodeonce.harness.workers.session import Workplace
from encodeonce.models.timing import Stopwatch


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
