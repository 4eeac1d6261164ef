"""What a weight method provides, and what it is asked to load; `registry` finds methods."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from encodeonce.models.checkpoint.files import local_checkpoint
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.spec import ModelSpec, WeightsSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a method is asked to load: a model, and where its language side is read from."""

    model: ModelSpec
    folder: Path
    """The model's checkpoint."""
    source: Path
    """The checkpoint that holds the variant's language side."""
    path: str | None
    """``source`` as the user named it; None if it is the model's own checkpoint."""


class Options(BaseModel):
    """A method's options: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    display_name: ClassVar[str]
    """What people call the method; reports say "AWQ", where run files say ``awq``."""


class Quantizer(Protocol):
    """A way to hold the language model's weights."""

    def check(self, candidate: Candidate) -> None:
        """Refuse what cannot be loaded, before anything is loaded.

        Raises:
            WeightsError: a library is not installed, this machine has no kernel, or the
                checkpoint does not fit.
        """
        ...

    def loading_hooks(self, candidate: Candidate) -> LoadingHooks:
        """Return how the weights are held: what the loader of the language side calls."""
        ...


def find_candidate(spec: WeightsSpec, model: ModelSpec, folder: Path) -> Candidate:
    """Return what a variant's method is asked to load.

    Args:
        spec: the variant.
        model: the model it is a variant of.
        folder: the model's checkpoint.

    Raises:
        CheckpointError: ``spec.path`` names no checkpoint.
    """
    source = folder
    if spec.path is not None:
        source = local_checkpoint(ModelSpec(path=spec.path), key="weights path")
    return Candidate(model=model, folder=folder, source=source, path=spec.path)


def check_weights(spec: WeightsSpec, model: ModelSpec, folder: Path) -> None:
    """Refuse a variant that cannot be loaded, before anything is loaded.

    Args:
        spec: the variant.
        model: the model it is a variant of.
        folder: the model's checkpoint.

    Raises:
        WeightsError: there is no such method or option, its library is not installed, this machine
            has no kernel for it, or the checkpoint does not fit.
    """
    load_quantizer(spec).check(find_candidate(spec, model, folder))
