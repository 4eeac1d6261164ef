"""Load parts of a model by themselves, for families put together from parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from encodeonce.models.checkpoint.files import CheckpointError, device, tensors
from encodeonce.models.checkpoint.loading import check_finite, load_partial
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.spec import ModelSpec


def part_weights(folder: Path, prefix: str = "", part: str = "") -> dict[str, torch.Tensor]:
    """Read the weights whose names begin with prefix and part, named without the prefix.

    Raises:
        CheckpointError: there are none.
    """
    found = {
        name.removeprefix(prefix): read()
        for name, read in tensors(folder)
        if name.startswith(prefix + part)
    }
    if not found:
        raise CheckpointError(f"{folder} holds no weights named '{prefix}{part}*'")
    return found


def filled(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> Any:
    """Give a module its weights.

    Raises:
        CheckpointError: weights are missing, or there are too many.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{type(module).__name__}: {error}") from error
    return module


def load_part(
    part_class: Any,
    config: Any,
    weights: Mapping[str, torch.Tensor],
    model: ModelSpec,
    hooks: LoadingHooks | None = None,
) -> Any:
    """Let transformers load a part from named weights.

    Raises:
        CheckpointError: weights are missing.
    """
    return load_partial(part_class, (), None, config, weights, model, hooks or LoadingHooks())


def settled(part: nn.Module, model: ModelSpec) -> Any:
    """Return a part ready for inference, on the device and in the precision of ``model``.

    Raises:
        CheckpointError: a weight holds NaN or infinity.
    """
    part = part.to(device(model), getattr(torch, model.dtype))
    check_finite(type(part).__name__, part, model)
    return part.eval().requires_grad_(False)


class PenultimateLayer(nn.Module):
    """A vision transformer up to the input of its last layer."""

    def __init__(self, model: Any, num_skipped: int) -> None:
        """Wrap a tower.

        Args:
            model: a vision model of transformers.
            num_skipped: tokens to drop from the front: 1 for a class token.
        """
        super().__init__()
        self.model = model
        self.num_skipped = num_skipped

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, P, D) of (N, 3, H, W) pixels."""
        output = self.model(pixels, output_hidden_states=True)
        return torch.as_tensor(output.hidden_states[-2][:, self.num_skipped :])
