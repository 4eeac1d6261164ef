"""torchao's weight-only int8, quantised while loading: one scale per row, activations untouched."""

import importlib
from typing import Any

from transformers import TorchAoConfig

from encodeonce.models.checkpoint.loading_hooks import ByTransformers, Treatment
from encodeonce.models.quantization.checks import refuse_path, refuse_quantised, require
from encodeonce.models.quantization.method import Candidate, Options


class TorchAoInt8(Options):
    """No options."""

    def check(self, candidate: Candidate) -> None:
        """Refuse a path, a quantised model, and a machine without torchao."""
        refuse_path(candidate, "torchao-int8")
        refuse_quantised(candidate, "torchao-int8")
        require("torchao", "torchao", "weights 'torchao-int8'")

    def treatment(self, candidate: Candidate) -> Treatment:
        """Return how the weights are loaded."""
        return ByTransformers(_config)


def _config(skipped: list[str]) -> Any:
    # As an object: transformers no longer takes torchao's names of methods.
    weight_only = importlib.import_module("torchao.quantization").Int8WeightOnlyConfig()
    return TorchAoConfig(weight_only, modules_to_not_convert=skipped)


QUANTIZER = TorchAoInt8
