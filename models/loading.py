"""What loading a language model took, and what it then holds."""

import time
from typing import Any

from torch import nn

from encodeonce.models.decoder_layers import decoder_layers
from encodeonce.models.memory import held_bytes, peak, reset_peak
from encodeonce.models.timing import synchronize
from encodeonce.models.weights import LoadedWeights


class LoadingMeasure:
    """Runs from when it is made."""

    def __init__(self) -> None:
        reset_peak()
        synchronize()
        self._start = time.perf_counter()

    def take(self, model: Any, projector: nn.Module | None) -> LoadedWeights:
        """Return what was measured, and what a model and its projector hold."""
        synchronize()
        load_s = time.perf_counter() - self._start
        counted: set[int] = set()
        parts = {
            "layers": decoder_layers(model),
            "embeddings": model.get_input_embeddings(),
            "head": model.get_output_embeddings(),
            "projector": projector,
            "other": model,
        }
        return LoadedWeights(
            bytes_by_part={
                name: 0 if part is None else held_bytes(part, counted)
                for name, part in parts.items()
            },
            load_s=load_s,
            peak_bytes=peak(),
        )
