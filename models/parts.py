"""Parts of a model that are loaded by themselves, for families put together from parts."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from encodeonce.models.checkpoint import device, load_partial
from encodeonce.models.spec import ModelSpec
from encodeonce.models.treatment import Treatment


def load_part(
    part_class: Any,
    config: Any,
    weights: Mapping[str, torch.Tensor],
    model: ModelSpec,
    treatment: Treatment | None = None,
) -> Any:
    """Load a part by transformers from named weights.

    Raises:
        CheckpointError: weights are missing.
    """
    return load_partial(part_class, (), None, config, weights, model, treatment or Treatment())


def settled(part: nn.Module, model: ModelSpec) -> Any:
    """Return a part ready for inference, where and how ``model`` says."""
    part = part.to(device(model), getattr(torch, model.dtype))
    return part.eval().requires_grad_(False)


class PenultimateLayer(nn.Module):
    """A vision transformer up to the input of its last layer."""

    def __init__(self, model: Any, num_skipped: int) -> None:
        """Wrap a tower.

        Args:
            model: a vision model of transformers.
            num_skipped: tokens to drop at the front: 1 for a class token.
        """
        super().__init__()
        self.model = model
        self.num_skipped = num_skipped

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, P, D) of (N, 3, H, W) pixels."""
        output = self.model(pixels, output_hidden_states=True)
        return torch.as_tensor(output.hidden_states[-2][:, self.num_skipped :])
