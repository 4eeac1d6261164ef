"""Finds weight methods by name.

The folder `methods/` is the registry: each file there defines one ``QUANTIZER``, a strict pydantic
model whose fields are the method's options. It is imported when the method is asked for, since most
of them import torch.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encodeonce.datasets.refusal_words import suggestion
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.models.plugin_file import text_in
from encodeonce.models.spec import WeightsSpec

if TYPE_CHECKING:
    from encodeonce.models.quantization.method import Options, Quantizer

_FOLDER = Path(__file__).parent / "methods"


class WeightsError(ValueError):
    """A weight variant cannot be used."""


def quantizer_names() -> list[str]:
    """Return the names of all methods: the files in `methods/`, with dashes."""
    return sorted(path.stem.replace("_", "-") for path in _FOLDER.glob("*.py"))


def display_name(method: str) -> str:
    """Return what people call a method, without importing it.

    Raises:
        WeightsError: there is no such method.
    """
    return text_in(_FOLDER / f"{_module(method)}.py", "display_name")


def quantizer_class(name: str) -> "type[Options]":
    """Return a method's class.

    Raises:
        WeightsError: there is no such method.
    """
    module = importlib.import_module(f"encodeonce.models.quantization.methods.{_module(name)}")
    found: type[Options] = module.QUANTIZER
    return found


def _module(name: str) -> str:
    """Return the name of a method's file."""
    names = quantizer_names()
    if name not in names:
        raise WeightsError(
            f"no weights method is called {name!r}; known: {', '.join(names)}."
            f"{suggestion(name, names)}"
        )
    return name.replace("-", "_")


def load_quantizer(spec: WeightsSpec) -> "Quantizer":
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
