"""Find the weights of a model that are quantised: the linear layers of its decoder layers."""

from typing import Any

from torch import nn


def decoder_layers(model: Any) -> nn.ModuleList:
    """Return the layers of a model's language model.

    Raises:
        ValueError: it has none under the name that they have in transformers' decoders.
    """
    layers = getattr(model.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ValueError(
            f"{type(model).__name__} keeps no list of decoder layers, so there is nothing that a "
            "weight method knows how to quantise. Use weights: none."
        )
    return layers


def linears(layer: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of a module, by their names in it."""
    return {name: part for name, part in layer.named_modules() if isinstance(part, nn.Linear)}


def linears_outside(model: Any) -> list[str]:
    """Return the names of linear layers that are never quantised: tower, projector, head."""
    inside = {id(part) for layer in decoder_layers(model) for part in layer.modules()}
    return [name for name, part in linears(model).items() if id(part) not in inside]
