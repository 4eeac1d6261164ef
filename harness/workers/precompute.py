"""Fills the store: the worker of ``encodeonce precompute``, a plain class without Ray."""

from dataclasses import asdict
from typing import Any

from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import PlannedMedia
from encodeonce.harness.workers.session import Session


class PrecomputeWorker:
    """Ensures that the store holds a media item's features. Never loads the language model."""

    def __init__(self, config: RunConfig) -> None:
        self._session = Session(config, on_miss="encode")
        self._stopwatch = self._session.stopwatch
        self._features = self._session.features

    def prepare(self) -> None:
        """Load the tower now, not at the first miss."""
        self._features.prepare()

    def do(self, planned: PlannedMedia) -> dict[str, Any]:
        """Encode the missing units of a media item.

        Raises:
            MediaError: the media item cannot be used.
        """
        self._stopwatch.take()
        self._features.take_use()
        request = self._session.look_up(planned.root, planned.ref, planned.benchmark)
        self._features.ensure(request)
        return {
            "media": request.media.sha256,
            "decoder": request.info.decoder if request.info.kind == "video" else None,
            "signature": request.signature.digest,
            "cache": asdict(self._features.take_use()),
            "seconds": self._stopwatch.take(),
        }

    def expect(self, planned: PlannedMedia) -> None:
        """Do nothing: decoding ahead would compete with the current item for the cores."""

    def close(self) -> None:
        """Stop the threads; everything stored is durable."""
        self._session.close()
