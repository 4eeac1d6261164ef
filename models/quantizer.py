"""What a weight method provides. The folder `quantizers/` is the registry: one ``QUANTIZER`` a file.

``QUANTIZER`` is a strict pydantic model; its fields are the method's options.
"""

from pathlib import Path
from typing import Protocol

from encodeonce.models.spec import ModelSpec


class Quantizer(Protocol):
    """A way to hold the language model's weights."""

    def check(self, path: str | None, model: ModelSpec, folder: Path) -> None:
        """Refuse what cannot be loaded, before anything is.

        Args:
            path: a checkpoint that is quantised already, as the user named it.
            model: the model that this is a variant of.
            folder: the model's checkpoint.

        Raises:
            WeightsError: a library is not installed, this machine has no kernel, or the
                checkpoint does not fit.
        """
        ...
