"""torchao's weight-only int8, quantised while loading: one scale per row, activations untouched."""

import importlib
from typing import Any, ClassVar

from transformers import TorchAoConfig

from encodeonce.models.checkpoint.loading_hooks import ByTransformers, LoadingHooks
from encodeonce.models.quantization.checks import refuse_path, refuse_quantised, require
from encodeonce.models.quantization.method import Candidate, Options


class TorchAoInt8(Options):
    """No options."""

    display_name: ClassVar[str] = "torchao int8"

    def check(self, candidate: Candidate) -> None:
        """Refuse a path, a quantised model, and a machine without torchao."""
        refuse_path(candidate, "torchao-int8")
        refuse_quantised(candidate, "torchao-int8")
        require("torchao", "torchao", "weights 'torchao-int8'")

    def loading_hooks(self, candidate: Candidate) -> LoadingHooks:
        """Return how the weights are loaded."""
        return ByTransformers(_config)


def _config(skipped: list[str]) -> Any:
    # As an object: transformers no longer takes torchao's names of methods.
    weight_only = importlib.import_module("torchao.quantization").Int8WeightOnlyConfig()
    return TorchAoConfig(weight_only, modules_to_not_convert=skipped)


QUANTIZER = TorchAoInt8
