"""What a weight method provides, and how the method of a weight variant is found.

The folder `methods/` is the registry: each file there defines one ``QUANTIZER``, a strict pydantic
model whose fields are the method's options.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from encodeonce.datasets.refusal_words import suggestion
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.models.checkpoint.files import local_checkpoint
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.spec import ModelSpec, WeightsSpec


class WeightsError(ValueError):
    """A weight variant cannot be used."""


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


def quantizer_names() -> list[str]:
    """Return the names of all methods: the files in `methods/`, with dashes."""
    files = (Path(__file__).parent / "methods").glob("*.py")
    return sorted(path.stem.replace("_", "-") for path in files)


def quantizer_class(name: str) -> type[Options]:
    """Return a method's class.

    Raises:
        WeightsError: there is no such method.
    """
    names = quantizer_names()
    if name not in names:
        raise WeightsError(
            f"no weights method is called {name!r}; known: {', '.join(names)}."
            f"{suggestion(name, names)}"
        )
    module = f"encodeonce.models.quantization.methods.{name.replace('-', '_')}"
    found: type[Options] = importlib.import_module(module).QUANTIZER
    return found


def load_quantizer(spec: WeightsSpec) -> Quantizer:
    """Return a variant's method, with its options.

    Raises:
        WeightsError: there is no such method, or it has no such options.
    """
    kind: Any = quantizer_class(spec.method)
    try:
        quantizer: Quantizer = checked(kind, spec.options)
    except Refused as error:
        raise WeightsError(f"weights: options of method {spec.method!r}: {error}") from error
    return quantizer


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
