"""Hooks into the loading of a checkpoint: how its weights become what a model computes with.

A weight method (`quantization/methods/`) returns them; the loaders of a checkpoint's parts
(`files.py` and `parts.py` beside this) call them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from encodeonce.models.checkpoint.decoder_layers import linears_outside

STORED = "quantization_config"
"""Key in config.json that says how a checkpoint's weights are quantised."""


class LoadingHooks:
    """What loaders call, in the order below. These leave weights as they are stored."""

    ignored: tuple[str, ...] = ()
    """Patterns for the names of a checkpoint's tensors that have no place in the model."""

    def config(self, config: Any) -> Any:
        """Return the model's configuration for loading."""
        return config

    def outline(self, model: nn.Module) -> None:
        """Change the model's modules on the meta device, before there are weights."""

    def arguments(
        self, skeleton: Callable[[], nn.Module], device: torch.device
    ) -> Mapping[str, Any]:
        """Return further arguments for ``from_pretrained``.

        Args:
            skeleton: makes the model to load, without weights.
            device: where it will be.
        """
        return {}

    def finish(self, model: Any, device: torch.device) -> None:
        """Complete the loaded model on its device."""
        model.to(device)


class ByTransformers(LoadingHooks):
    """Weights that transformers quantises while it reads them, or that are stored quantised."""

    def __init__(self, quantization: Callable[[list[str]], Any] | None = None) -> None:
        """Take what makes a quantisation config from the names of modules to leave alone.

        None where the checkpoint's own configuration says how it is quantised.
        """
        self._quantization = quantization

    def arguments(
        self, skeleton: Callable[[], nn.Module], device: torch.device
    ) -> Mapping[str, Any]:
        """Name the device, where weights go one by one, and the modules that stay as they are."""
        arguments: dict[str, Any] = {"device_map": {"": device}}
        if self._quantization is not None:
            arguments["quantization_config"] = self._quantization(linears_outside(skeleton()))
        return arguments

    def finish(self, model: Any, device: torch.device) -> None:
        """Do nothing more: quantised weights are not moved."""


class NotQuantised(LoadingHooks):
    """A part of a quantised checkpoint that holds plain weights, so that no library is needed."""

    def config(self, config: Any) -> Any:
        """Return the configuration as if nothing were quantised."""
        return without_stored(config)


def without_stored(config: Any) -> Any:
    """Return a configuration that says nothing about quantised weights."""
    for part in (config, config.get_text_config()):
        if hasattr(part, STORED):
            delattr(part, STORED)
    return config
