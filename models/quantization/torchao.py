"""Weights that torchao quantises while they are read: weights only, activations untouched."""

import importlib
from typing import Any, ClassVar

from transformers import TorchAoConfig

from encodeonce.models.checkpoint.loading_hooks import ByTransformers, LoadingHooks
from encodeonce.models.quantization.checks import refuse_path, refuse_quantised, require
from encodeonce.models.quantization.method import Candidate, Options


class TorchAo(Options):
    """A method that is one of torchao's configurations."""

    name: ClassVar[str]
    """As run files say it."""
    config_class: ClassVar[str]
    """In ``torchao.quantization``."""

    def check(self, candidate: Candidate) -> None:
        """Refuse a path, a quantised model, and a machine without torchao."""
        refuse_path(candidate, self.name)
        refuse_quantised(candidate, self.name)
        require("torchao", "torchao", f"weights {self.name!r}")

    def loading_hooks(self, candidate: Candidate) -> LoadingHooks:
        """Return how the weights are loaded."""
        # As an object: transformers no longer takes torchao's names of methods.
        return ByTransformers(
            lambda skipped: TorchAoConfig(self.config(), modules_to_not_convert=skipped)
        )

    def config(self) -> Any:
        """Return torchao's configuration."""
        return getattr(importlib.import_module("torchao.quantization"), self.config_class)()
