"""What a training trains: how it learns, how it is kept, and how it is judged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

HeldOut = dict[str, dict[str, Any]]
"""What a validation found: figures by name, by what was judged."""


class Subject(Protocol):
    """Weights that are new, beside a model that stays as it is."""

    @property
    def figures(self) -> Sequence[str]:
        """Names of what a lesson is summed up by; the first is the loss."""
        ...

    @property
    def module(self) -> nn.Module:
        """The new weights, on the model's device: all of its parameters are trained."""
        ...

    def learn(self, step: int, index: int) -> torch.Tensor:
        """Return the figures (F,) of a step's lesson; gradients follow from the loss, the first.

        Which lesson it is follows from the two numbers alone.
        """
        ...

    def words(self, figures: Sequence[float]) -> str:
        """Return what is said of a step while the training goes on."""
        ...

    def read(self, folder: Path) -> None:
        """Take the weights of a checkpoint."""
        ...

    def write(self, folder: Path) -> None:
        """Write the weights into a checkpoint's folder, which is empty."""
        ...

    def measure(self, folder: Path) -> HeldOut:
        """Judge a checkpoint by what is not learnt from."""
        ...

    def is_better(self, one: HeldOut, other: HeldOut) -> bool:
        """Return whether a validation found more than another."""
        ...
