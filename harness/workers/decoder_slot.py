"""The decoder that a worker holds: one weight variant's at a time."""

import gc
import logging
from collections.abc import Callable

import torch

from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.answer import LoadedWeights
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.family import Decoder
from encodeonce.models.language.adapting import BASE
from encodeonce.models.spec import WeightsSpec

logger = logging.getLogger(__name__)


class WeightsNotLoaded(RuntimeError):
    """A weight variant could not be loaded by this worker."""


class DecoderSlot:
    """Room for one decoder. The previous one is dropped before the next is loaded."""

    def __init__(self, load: Callable[[WeightsSpec], Decoder]) -> None:
        """Make an empty slot; ``load`` makes the decoder of a weight variant."""
        self._load = load
        self._title: str | None = None
        self._decoder: Decoder | None = None
        self._unsaid: LoadedWeights | None = None
        self._failed: dict[str, str] = {}

    def put(self, weights: WeightsSpec) -> Decoder:
        """Load a variant's decoder, whatever is in the slot; raises what loading raises."""
        self.empty()
        decoder = self._load(weights)
        self._title, self._decoder, self._unsaid = weights.title, decoder, decoder.loaded
        return decoder

    def get(self, weights: WeightsSpec) -> Decoder:
        """Return a variant's decoder.

        Raises:
            WeightsNotLoaded: it does not load. No second attempt is made: every media group would
                read the weights only to fail as the first did.
        """
        if weights.title == self._title and self._decoder is not None:
            return self._decoder
        if weights.title not in self._failed:
            try:
                return self.put(weights)
            except Exception as error:
                logger.warning("weights %r did not load", weights.title, exc_info=True)
                self._failed[weights.title] = f"{type(error).__name__}: {error}"
        raise WeightsNotLoaded(
            f"weights {weights.title!r} did not load: {self._failed[weights.title]}"
        )

    def empty(self) -> None:
        """Drop the decoder, and free its memory unless something else holds it."""
        if self._decoder is not None:
            self._decoder.close()
        self._title = self._decoder = None
        gc.collect()  # a transformers model is part of a reference cycle: its modules refer to it
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def take_loaded(self) -> LoadedWeights | None:
        """Return what was loaded since the last call, if anything was."""
        loaded, self._unsaid = self._unsaid, None
        return loaded


def adapter_number(decoder: Decoder, adapter: AdapterSpec | None) -> int:
    """Return the number of an adapter, or of the base, in a decoder with all adapters of a run."""
    if adapter is None or (isinstance(decoder, PrefixDecoder) and decoder.merged is not None):
        return BASE  # none at all, or in the weights
    assert decoder.adapters is not None, "loaded without the run's adapters"
    return decoder.adapters.number(adapter.title)
