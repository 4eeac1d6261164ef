"""What a weight method provides. The folder `quantizers/` is the registry.

Each file defines one ``QUANTIZER``, a strict pydantic model whose fields are the method's options.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from encodeonce.models.spec import ModelSpec
from encodeonce.models.treatment import Treatment


class WeightsError(ValueError):
    """A weight variant cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model, and where the language side of a variant of it is read from."""

    model: ModelSpec
    folder: Path
    """The model's checkpoint."""
    source: Path
    """The checkpoint that the variant's language side is in."""
    path: str | None
    """``source`` as the user named it; None where it is the model's own checkpoint."""


class Options(BaseModel):
    """A method's options: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Quantizer(Protocol):
    """A way to hold the language model's weights."""

    def check(self, candidate: Candidate) -> None:
        """Refuse what cannot be loaded, before anything is.

        Raises:
            WeightsError: a library is not installed, this machine has no kernel, or the
                checkpoint does not fit.
        """
        ...

    def treatment(self, candidate: Candidate) -> Treatment:
        """Return how the weights are loaded."""
        ...
